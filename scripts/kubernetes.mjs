/**
 * Builds what a Kubernetes API in tests needs, from Go modules alone: etcd, kube-apiserver, kube-scheduler, kwok,
 * which plays the nodes, and kubelet, which is one. Kept in the user's cache by version; a quarter of an hour the first time.
 *
 *   node scripts/kubernetes.mjs     prints the path of each program, as JSON
 */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, withLock } from '../dev/cache.ts'
import { findExecutable, isExecutable, run } from './run.mjs'

const versions = { kubernetes: 'v1.34.4', etcd: 'v3.6.16', kwok: 'v0.7.0' }
const buildLimitMs = 45 * 60_000

const stamp = 'k8s.io/component-base/version'
const kubernetesFlags = `-s -w -X ${stamp}.gitVersion=${versions.kubernetes} -X ${stamp}.gitMajor=1 -X ${stamp}.gitMinor=34`

/** The modules with their locked dependencies lie in scripts/kubernetes/<folder>; kwok's own has no replacements. */
const programs = {
  'kube-apiserver': {
    version: versions.kubernetes,
    folder: 'control-plane',
    main: 'k8s.io/kubernetes/cmd/kube-apiserver',
    flags: kubernetesFlags,
  },
  'kube-scheduler': {
    version: versions.kubernetes,
    folder: 'control-plane',
    main: 'k8s.io/kubernetes/cmd/kube-scheduler',
    flags: kubernetesFlags,
  },
  kubelet: {
    version: versions.kubernetes,
    folder: 'control-plane',
    main: 'k8s.io/kubernetes/cmd/kubelet',
    flags: kubernetesFlags,
  },
  pause: { version: 'v1', folder: 'pause', main: '.', flags: '-s -w' },
  etcd: { version: versions.etcd, folder: 'etcd', main: 'go.etcd.io/etcd/server/v3', flags: '-s -w' },
  kwok: { version: versions.kwok, folder: 'kwok', main: 'sigs.k8s.io/kwok/cmd/kwok', flags: '-s -w' },
}

/** Only real Pods need them. */
const nodePrograms = ['kubelet', 'pause']

/** Path of each program of the API and of kwok's nodes, or undefined while one is missing. */
export function kubernetesPrograms() {
  return paths(Object.keys(programs).filter((name) => !nodePrograms.includes(name)))
}

/** Path of kubelet and pause, or undefined while one is missing. */
export function kubeletPrograms() {
  return paths(nodePrograms)
}

function paths(names) {
  const paths = Object.fromEntries(names.map((name) => [name, pathOf(name)]))
  return Object.values(paths).every(isExecutable) ? paths : undefined
}

/**
 * What is built before the time limit stays, and Go's own cache too: the next one goes on from there.
 * @param {{ limitMs?: number, node?: boolean }} [options] `node` = also what real Pods need
 */
export async function provide({ limitMs = buildLimitMs, node = true } = {}) {
  const wanted = Object.keys(programs).filter((name) => node || !nodePrograms.includes(name))
  const what = `API server, etcd, scheduler, kwok${node ? ', kubelet' : ''}`
  if (paths(wanted)) return `${what} from the cache`
  if (!findExecutable('go')) throw new Error('Go is not installed: the programs are built from Go modules')
  const lock = join(cacheFolder(process.env), 'kubernetes', 'lock')
  const onWait = () => console.error('Another process is building the Kubernetes programs; waiting for it …')
  await withLock(lock, onWait, () => buildMissing(wanted, limitMs))
  return `${what}, built`
}

async function buildMissing(wanted, limitMs) {
  const began = performance.now()
  let building = ''
  const timer = setInterval(() => {
    console.error(`Building ${building} with Go: ${Math.round((performance.now() - began) / 1_000)} s`)
  }, 30_000)
  try {
    for (const name of wanted.filter((one) => !isExecutable(pathOf(one)))) {
      building = name
      await build(name, limitMs - (performance.now() - began))
    }
  } finally {
    clearInterval(timer)
  }
}

async function build(name, remainingMs) {
  const { folder, main, flags } = programs[name]
  const target = pathOf(name)
  mkdirSync(join(target, '..'), { recursive: true })
  const temporary = mkdtempSync(join(target, '..', '.build-'))
  try {
    const args = [
      'go',
      'build',
      '-trimpath',
      '-buildvcs=false',
      '-ldflags',
      flags,
      '-o',
      join(temporary, name),
      main,
    ]
    const cwd = join(import.meta.dirname, 'kubernetes', folder)
    const env = { CGO_ENABLED: '0', GOFLAGS: '-mod=readonly' }
    await run('kubernetes', 'nice', args, { cwd, env, limitMs: remainingMs })
    renameSync(join(temporary, name), target)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

function pathOf(name) {
  return join(cacheFolder(process.env), 'kubernetes', `${name}-${programs[name].version}`)
}

if (import.meta.main) {
  await provide()
  console.log(JSON.stringify({ ...kubernetesPrograms(), ...kubeletPrograms() }))
}
