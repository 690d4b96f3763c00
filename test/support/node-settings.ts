/** Settings of containerd and kubelet for the node of the Kubernetes tests: everything in one folder, one bridge. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const cniFolder = '/usr/lib/cni'
export const bridge = 'perdure-pods'
/** The node has the first address of the network that its Pods are in. */
export const network = { subnet: '10.213.77.0/24', gateway: '10.213.77.1' }
export const pauseImage = 'localhost/perdure-pause:test'

/** Writes containerd's settings; returns their path. */
export function containerdConfig(folder: string, socket: string): string {
  const cni = join(folder, 'cni')
  mkdirSync(cni)
  const ipam = {
    type: 'host-local',
    dataDir: join(folder, 'addresses'),
    ranges: [[{ subnet: network.subnet }]],
  }
  const plugin = { type: 'bridge', bridge, isGateway: true, ipMasq: false, ipam }
  writeFileSync(
    join(cni, '10-pods.conflist'),
    JSON.stringify({ cniVersion: '0.4.0', name: 'perdure', plugins: [plugin] }),
  )
  const cri = 'plugins."io.containerd.grpc.v1.cri"'
  const path = join(folder, 'containerd.toml')
  const lines = [
    'version = 2',
    `root = "${join(folder, 'root')}"`,
    `state = "${join(folder, 'state')}"`,
    `[grpc]\n  address = "${socket}"`,
    `[plugins."io.containerd.internal.v1.opt"]\n  path = "${join(folder, 'opt')}"`,
    // Without the right to lower it, the score that protects a Pod from the kernel cannot be set.
    `[${cri}]\n  sandbox_image = "${pauseImage}"\n  restrict_oom_score_adj = true\n  disable_apparmor = true`,
    '  stream_server_address = "127.0.0.1"',
    `[${cri}.cni]\n  bin_dir = "${cniFolder}"\n  conf_dir = "${cni}"`,
    `[${cri}.containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"`,
  ]
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}

/** Writes kubelet's settings. Whoever reaches its port may do anything: the port is on the bridge of the Pods. */
export function kubeletConfig(folder: string, socket: string, port: number): string {
  const path = join(folder, 'kubelet.json')
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: network.gateway,
    port,
    healthzPort: 0,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    cgroupDriver: 'cgroupfs',
    cgroupRoot: '/',
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: ['none'],
    // They would stay on the machine.
    makeIPTablesUtilChains: false,
    containerRuntimeEndpoint: `unix://${socket}`,
    podLogsDir: join(folder, 'logs'),
    resolvConf: '/etc/resolv.conf',
    evictionHard: { 'nodefs.available': '1%', 'imagefs.available': '1%', 'memory.available': '50Mi' },
  }
  writeFileSync(path, JSON.stringify(config))
  return path
}
