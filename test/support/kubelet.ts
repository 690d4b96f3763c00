/**
 * A real node for the Kubernetes API of the tests: kubelet, containerd and a bridge network, so that Pods are processes
 * with logs, exec and limits. Root on Linux only; one at a time on a machine, which it leaves as it found it.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withLock } from '../../dev/cache.ts'
import { freePorts } from '../../dev/free-ports.ts'
import { baseSettings, layOutBase } from '../../scripts/docker-image.mjs'
import { writeArchive } from '../../scripts/image-archive.mjs'
import { kubeletPrograms } from '../../scripts/kubernetes.mjs'
import { type KubernetesApi, kubernetes, podsOf } from './kubernetes.ts'
import { bridge, cniFolder, containerdConfig, kubeletConfig, network, pauseImage } from './node-settings.ts'
import { full, type Requirement, skipped } from './require.ts'
import { type Started, start, until } from './started.ts'

const controlGroups = '/sys/fs/cgroup'

/** Holds Node, a shell and nothing else; on the node when it is ready. */
export const podImage = 'localhost/perdure-base:test'

export interface KubernetesNode {
  name: string
  /** Also the address under which this machine is seen by Pods. */
  ip: string
  /** Makes an image of a folder's files, with the base image's settings, known to the node. */
  addImage(name: string, root: string): Promise<void>
  stop(): Promise<void>
}

/** Suites that need Pods with processes; slow ones. */
export const kubelet: Requirement = !full.available
  ? full
  : nodeMissing()
    ? skipped(`needs a node: ${nodeMissing()}`)
    : kubernetes

/** For the hook that starts one: another file may have the node for as long as its tests take. */
export const nodeWithinMs = 900_000

function nodeMissing(): string {
  if (process.getuid?.() !== 0) return 'only root can run one'
  if (!kubeletPrograms()) return 'kubelet is not built (node scripts/kubernetes.mjs)'
  const programs = ['containerd', 'ctr', 'runc', 'ip'].filter((name) => !onPath(name))
  if (!existsSync(join(cniFolder, 'bridge'))) programs.push(`${cniFolder}/bridge`)
  return programs.length > 0
    ? `${programs.join(', ')} missing (Debian: containerd runc containernetworking-plugins)`
    : ''
}

/** Ready in a few seconds. Pods that shall run here name it in `spec.nodeName` or select its label `type: real`. */
export async function startNode(api: KubernetesApi, name = 'real'): Promise<KubernetesNode> {
  let release = () => {}
  const released = new Promise<void>((done) => {
    release = done
  })
  return await new Promise((ready, failed) => {
    withLock(
      join(tmpdir(), 'perdure-kubelet.lock'),
      () => {},
      async () => {
        const node = await startLocked(api, name, release)
        ready(node)
        await released
      },
    ).catch(failed)
  })
}

async function startLocked(api: KubernetesApi, name: string, release: () => void): Promise<KubernetesNode> {
  const programs = kubeletPrograms()
  if (!programs) throw new Error('kubelet is not built')
  const folder = mkdtempSync(join(tmpdir(), 'perdure-node-'))
  const running: Started[] = []
  const socket = join(folder, 'containerd.sock')
  const addImage = async (image: string, root: string, config: ImageSettings = baseSettings) => {
    const archive = join(folder, 'image.tar')
    await writeArchive(archive, { name: image, root, config })
    execFileSync('ctr', ['-a', socket, '-n', 'k8s.io', 'images', 'import', archive], {
      stdio: 'ignore',
      timeout: 120_000,
    })
    rmSync(archive)
  }
  const stop = async () => {
    try {
      await removePods(api, name)
      for (const one of running.toReversed()) await one.stop()
    } finally {
      clear(folder)
      release()
    }
  }
  try {
    quietly('ip', ['link', 'delete', bridge])
    execFileSync('ip', ['link', 'add', bridge, 'type', 'bridge'])
    execFileSync('ip', ['address', 'add', `${network.gateway}/24`, 'dev', bridge])
    execFileSync('ip', ['link', 'set', bridge, 'up'])
    running.push(start('containerd', ['--config', containerdConfig(folder, socket)], folder, 'containerd'))
    await until(running, 'containerd answers', async () => quietly('ctr', ['-a', socket, 'version']))
    await importImages(folder, programs.pause, addImage)

    const [port] = await freePorts(1)
    const args = [`--config=${kubeletConfig(folder, socket, port!)}`, `--kubeconfig=${api.kubeconfigPath}`]
    args.push(
      `--root-dir=${join(folder, 'kubelet')}`,
      `--cert-dir=${join(folder, 'pki')}`,
      `--node-ip=${network.gateway}`,
    )
    args.push(`--hostname-override=${name}`, '--node-labels=type=real')
    running.push(start(programs.kubelet, args, folder, 'kubelet'))
    await until(running, 'the node is ready', async () =>
      /"type":"Ready","status":"True"/.test(JSON.stringify(await api.call('GET', `/api/v1/nodes/${name}`))),
    )
    return { name, ip: network.gateway, addImage, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

type ImageSettings = { Env?: string[]; WorkingDir?: string; Entrypoint?: string[] }

async function importImages(
  folder: string,
  pause: string,
  add: (name: string, root: string, config?: ImageSettings) => Promise<void>,
): Promise<void> {
  const pauseRoot = join(folder, 'pause-root')
  mkdirSync(pauseRoot)
  execFileSync('cp', [pause, join(pauseRoot, 'pause')])
  await add(pauseImage, pauseRoot, { Entrypoint: ['/pause'] })
  const root = join(folder, 'base-root')
  mkdirSync(root)
  await layOutBase(root)
  await add(podImage, root)
  for (const path of [pauseRoot, root]) rmSync(path, { recursive: true })
}

async function removePods(api: KubernetesApi, node: string): Promise<void> {
  await until([], 'the Pods of the node are gone', async () => {
    const pods = await podsOf(api.call, `?fieldSelector=spec.nodeName%3D${node}`)
    for (const { metadata } of pods) {
      await api.call(
        'DELETE',
        `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}?gracePeriodSeconds=1`,
      )
    }
    return pods.length === 0
  })
}

/** Whatever outlived containerd: its shims, mounts below the folder, the bridge, empty control groups. */
function clear(folder: string): void {
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    if (commandLine(pid).includes(folder) && Number(pid) !== process.pid) quietly('kill', ['-9', pid])
  }
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
  for (const mount of mounts.toReversed().filter((path) => path.startsWith(folder)))
    quietly('umount', ['-l', mount])
  quietly('ip', ['link', 'delete', bridge])
  quietly('find', [
    controlGroups,
    '-depth',
    '-path',
    '*/kubepods*',
    '-type',
    'd',
    '-exec',
    'rmdir',
    '{}',
    '+',
  ])
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  // Links to the logs, which were in that folder.
  quietly('find', ['/var/log/containers', '-xtype', 'l', '-delete'])
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function quietly(program: string, args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore', timeout: 20_000 })
    return true
  } catch {
    return false
  }
}

function onPath(name: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => folder !== '' && existsSync(join(folder, name)))
}
