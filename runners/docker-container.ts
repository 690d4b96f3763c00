/** One job as a container: what the engine is asked to create, and what its answers mean. Pure. */
import type { ContainerCreateOptions, ContainerInspectInfo } from 'dockerode'
import type { Observation } from '../contracts/validation-record.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import { type Job, jobNameOf, labelsOf, launchOf } from './job.ts'

const tmpfsOptions = 'rw,noexec,nosuid,size=256m'

/** The same limits as production's; nothing of the host but the model, and that read-only. */
export function containerOf(job: Job, platform: PlatformOf<'docker'>): ContainerCreateOptions {
  const { binary, limits, model } = job
  const { env, command, args } = launchOf(job, { ports: binary.ports, modelPath: binary.modelMountPath })
  const ports = Object.values(binary.ports).map((port) => `${port}/tcp`)
  return {
    name: jobNameOf(job.key),
    Image: binary.image ?? '',
    // As on Kubernetes: a command replaces the image's entry point, and then its default arguments go too.
    ...(binary.command && { Entrypoint: command }),
    ...((binary.args || binary.command) && { Cmd: args }),
    ...(platform.user !== undefined && { User: platform.user }),
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    Labels: labelsOf(job),
    ExposedPorts: Object.fromEntries(ports.map((port) => [port, {}])),
    HostConfig: {
      // The dead container is the evidence: exit code, OOM flag and logs stay until stop removes it.
      AutoRemove: false,
      RestartPolicy: { Name: 'no' },
      PortBindings: Object.fromEntries(
        ports.map((port) => [port, [{ HostIp: bindAddress(platform), HostPort: '' }]]),
      ),
      ...(model.path !== undefined && {
        Mounts: [{ Type: 'bind', Source: model.path, Target: binary.modelMountPath, ReadOnly: true }],
      }),
      ...(limits.memoryBytes !== undefined && { Memory: limits.memoryBytes, MemorySwap: limits.memoryBytes }),
      ...(limits.cpus !== undefined && { NanoCpus: Math.round(limits.cpus * 1e9) }),
      ...(limits.pids !== undefined && { PidsLimit: limits.pids }),
      ...(limits.gpus !== undefined && {
        DeviceRequests: [{ Driver: 'nvidia', Count: limits.gpus, Capabilities: [['gpu']] }],
      }),
      CapDrop: ['ALL'],
      CapAdd: platform.capAdd,
      SecurityOpt: ['no-new-privileges'],
      ReadonlyRootfs: platform.readOnlyRoot,
      Tmpfs: Object.fromEntries(platform.tmpfs.map((path) => [path, tmpfsOptions])),
      ...(platform.network !== undefined && { NetworkMode: platform.network }),
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '2' } },
    },
  }
}

type Inspected = Pick<ContainerInspectInfo, 'State' | 'NetworkSettings' | 'HostConfig'>

/** What one answer of the engine says. Running without a port mapping has no endpoint yet: ask again (BUG-14). */
export function observationOf(info: Inspected, job: Job, platform: PlatformOf<'docker'>): Observation {
  const { Status: status, ExitCode: exitCode, OOMKilled: flagged, Error: error } = info.State
  if (status === 'created') return { state: 'Scheduled', reason: status, ...(error && { message: error }) }
  if (status === 'running') {
    const endpoints = endpointsOf(info, job, platform)
    return { state: 'Running', reason: status, ...(endpoints && { endpoints }) }
  }
  // The engine's mark alone says so: exit code 137 is a kill by whoever.
  return {
    state: 'Aborted',
    failure: flagged ? 'OOM_KILLED' : 'JOB_ABORTED',
    exitCode,
    oomKilled: flagged,
    reason: flagged ? 'OOMKilled' : status,
    // Its cgroup is gone, but whoever was killed at the limit had reached it.
    ...(flagged && info.HostConfig.Memory && { peakMemoryBytes: info.HostConfig.Memory }),
    ...(error && { message: error }),
  }
}

function endpointsOf(
  info: Inspected,
  job: Job,
  platform: PlatformOf<'docker'>,
): Record<string, string> | undefined {
  // An internal network publishes nothing; its addresses are reached from this host and from other members.
  const address = platform.network && info.NetworkSettings?.Networks?.[platform.network]?.IPAddress
  const endpoints: Record<string, string> = {}
  for (const [name, port] of Object.entries(job.binary.ports)) {
    const mapped = info.NetworkSettings?.Ports?.[`${port}/tcp`] ?? []
    const entry = mapped.find(({ HostIp }) => !HostIp.includes(':')) ?? mapped[0]
    if (address) {
      endpoints[name] = `${address}:${port}`
      continue
    }
    if (!entry?.HostPort) return undefined
    // An engine with IPv6 alone has no mapping on the IPv4 loopback.
    const host = entry.HostIp.includes(':') && platform.hostIp === '127.0.0.1' ? '[::1]' : platform.hostIp
    endpoints[name] = `${host}:${entry.HostPort}`
  }
  return endpoints
}

/** Loopback, unless the engine is elsewhere: then the address at which it is reached. */
function bindAddress({ hostIp }: PlatformOf<'docker'>): string {
  return /^[\d.]+$/.test(hostIp) ? hostIp : '127.0.0.1'
}

/** The container's output without the frame heads that the engine puts between (attach protocol, 8 bytes each). */
export function plainOutput(framed: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at + 8 <= framed.length; ) {
    // A terminal's output has no frames: its first bytes are text.
    if ((framed[at] ?? 0) > 2 || framed.readUIntBE(at + 1, 3) !== 0) return framed
    const size = framed.readUInt32BE(at + 4)
    parts.push(framed.subarray(at + 8, at + 8 + size))
    at += 8 + size
  }
  return Buffer.concat(parts)
}
