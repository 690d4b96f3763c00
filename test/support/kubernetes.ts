/**
 * A real Kubernetes API on the loopback interface: etcd, API server, scheduler, and kwok, which plays nodes whose Pods
 * become Running and Ready without a process. For throw-away machines only: one fixed token may do everything.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts, loopback } from '../../dev/free-ports.ts'
import { kubernetesPrograms } from '../../scripts/kubernetes.mjs'
import { requirement } from './require.ts'
import { type Started, start, until } from './started.ts'

/** Suites and tests that need a Kubernetes API. */
export const kubernetes = requirement('kubernetes', () =>
  kubernetesPrograms() ? true : 'its programs are not built (node scripts/kubernetes.mjs)',
)

export interface KubernetesApi {
  kubeconfigPath: string
  /** `https://127.0.0.1:<port>` */
  server: string
  /** Bearer token of an administrator. */
  token: string
  /** One call with that token; rejects unless the answer is 2xx or 409 (it is there already). */
  call(method: string, path: string, body?: unknown): Promise<unknown>
  stop(): Promise<void>
}

export interface KubernetesOptions {
  /** Without it a Pod stays Pending until somebody sets `spec.nodeName`. Default true. */
  scheduler?: boolean
  /** Names of the nodes and how many GPUs (`nvidia.com/gpu`) each has. */
  nodes?: Record<string, number>
}

/** Up in about five seconds. The namespace `default` has its service account `default`. */
export async function startKubernetes({
  scheduler = true,
  nodes = { plain: 0, gpu: 8 },
}: KubernetesOptions = {}): Promise<KubernetesApi> {
  const programs = kubernetesPrograms()
  if (!programs) throw new Error('the Kubernetes programs are not built')
  const folder = mkdtempSync(join(tmpdir(), 'perdure-kubernetes-'))
  const running: Started[] = []
  const launch = (name: keyof typeof programs, args: string[]) =>
    running.push(start(programs[name], args, folder, name))
  let collecting: NodeJS.Timeout | undefined
  const stop = async () => {
    clearInterval(collecting)
    // In the reverse order: whoever depends goes first.
    for (const one of running.toReversed()) await one.stop()
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
  try {
    const [etcdPort, peerPort, apiPort] = await freePorts(3)
    const server = `https://${loopback}:${apiPort}`
    const token = randomUUID()
    launch('etcd', etcdArgs(folder, etcdPort!, peerPort!))
    launch('kube-apiserver', apiServerArgs(folder, etcdPort!, apiPort!, token))
    const call = caller(server, token, folder)
    await ready(running, call)

    const kubeconfigPath = writeKubeconfig(folder, server, token)
    if (scheduler) {
      const args = ['--leader-elect=false', '--secure-port=0']
      launch('kube-scheduler', [`--kubeconfig=${kubeconfigPath}`, ...args])
    }
    launch('kwok', [
      `--kubeconfig=${kubeconfigPath}`,
      '--manage-nodes-with-label-selector=type=kwok',
      '--node-lease-duration-seconds=40',
    ])
    // A token in a Pod would need what the controller manager makes.
    const unmounted = { automountServiceAccountToken: false }
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' }, ...unmounted }
    await call('POST', '/api/v1/namespaces/default/serviceaccounts', account)
    for (const [name, gpus] of Object.entries(nodes)) await call('POST', '/api/v1/nodes', node(name, gpus))
    await nodesReady(running, call, Object.keys(nodes))
    collecting = setInterval(() => void collectGarbage(call).catch(() => undefined), 250)
    return { kubeconfigPath, server, token, call, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function etcdArgs(folder: string, port: number, peerPort: number): string[] {
  const [client, peer] = [`http://${loopback}:${port}`, `http://${loopback}:${peerPort}`]
  return [
    `--data-dir=${join(folder, 'etcd')}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    '--unsafe-no-fsync',
    '--log-level=warn',
  ]
}

function apiServerArgs(folder: string, etcdPort: number, port: number, token: string): string[] {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const keyFile = join(folder, 'service-accounts.pem')
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  const tokenFile = join(folder, 'tokens.csv')
  writeFileSync(tokenFile, `${token},admin,admin,"system:masters"\n`, { mode: 0o600 })
  return [
    `--etcd-servers=http://${loopback}:${etcdPort}`,
    `--bind-address=${loopback}`,
    `--advertise-address=${loopback}`,
    `--secure-port=${port}`,
    `--cert-dir=${join(folder, 'certificates')}`,
    `--token-auth-file=${tokenFile}`,
    '--authorization-mode=RBAC',
    `--service-account-key-file=${keyFile}`,
    `--service-account-signing-key-file=${keyFile}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    '--service-cluster-ip-range=10.96.0.0/24',
    '--endpoint-reconciler-type=none',
    '--kubelet-preferred-address-types=InternalIP',
    // It marks new nodes as not ready; the controller manager, which is not here, would take the mark away.
    '--disable-admission-plugins=TaintNodesByCondition',
  ]
}

/** The API server makes its own certificate and the authority that signed it, in one file. */
function writeKubeconfig(folder: string, server: string, token: string): string {
  const authority = readFileSync(join(folder, 'certificates/apiserver.crt')).toString('base64')
  const path = join(folder, 'kubeconfig')
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin', namespace: 'default' } }],
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': authority } }],
    users: [{ name: 'admin', user: { token } }],
  }
  writeFileSync(path, JSON.stringify(config), { mode: 0o600 })
  return path
}

function node(name: string, gpus: number) {
  const resources = {
    cpu: '32',
    memory: '256Gi',
    pods: '110',
    ...(gpus > 0 && { 'nvidia.com/gpu': String(gpus) }),
  }
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux', type: 'kwok' } },
    status: { allocatable: resources, capacity: resources },
  }
}

type Call = KubernetesApi['call']

function caller(server: string, token: string, folder: string): Call {
  let agent: Agent | undefined
  return async (method, path, body) => {
    agent ??= new Agent({ ca: readFileSync(join(folder, 'certificates/apiserver.crt')), keepAlive: false })
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const options = { agent, method, headers, timeout: 10_000 }
    return await new Promise((done, failed) => {
      const call = request(`${server}${path}`, options, (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (chunk) => {
          text += chunk
        })
        answer.on('error', failed)
        answer.on('end', () => {
          const status = answer.statusCode ?? 0
          if (status === 409 || (status >= 200 && status < 300))
            done(text.startsWith('{') ? JSON.parse(text) : text)
          else failed(new Error(`${method} ${path}: ${status} ${text.slice(0, 500)}`))
        })
      })
      call.on('timeout', () => call.destroy(new Error(`${method} ${path}: no answer`)))
      call.on('error', (error) => {
        // Its certificates may have been read while they were being written.
        agent = undefined
        failed(error)
      })
      call.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }
}

async function ready(running: readonly Started[], call: Call): Promise<void> {
  await until(running, 'the API server is ready', async () => (await call('GET', '/readyz')) === 'ok')
  // Made by the API server itself, a moment after it says that it is ready.
  await until(
    running,
    'the namespace default is there',
    async () => (await call('GET', '/api/v1/namespaces/default')) !== '',
  )
}

interface PodItem {
  metadata: { namespace: string; name: string; deletionTimestamp?: string; finalizers?: string[] }
}

/** All Pods, or those that a query selects. */
export async function podsOf(call: Call, query = ''): Promise<PodItem[]> {
  const list = await call('GET', `/api/v1/pods${query}`)
  return typeof list === 'object' && list !== null && 'items' in list && Array.isArray(list.items)
    ? list.items
    : []
}

/** What the controller manager does, which is not here: a Pod deleted in the foreground waits for its dependents. */
async function collectGarbage(call: Call): Promise<void> {
  for (const pod of await podsOf(call)) {
    const { namespace, name, deletionTimestamp, finalizers } = pod.metadata
    if (deletionTimestamp === undefined || !finalizers?.includes('foregroundDeletion')) continue
    pod.metadata.finalizers = finalizers.filter((one) => one !== 'foregroundDeletion')
    await call('PUT', `/api/v1/namespaces/${namespace}/pods/${name}`, pod)
  }
}

async function nodesReady(running: readonly Started[], call: Call, names: string[]): Promise<void> {
  for (const name of names) {
    await until(running, `the node ${name} is ready`, async () =>
      /"type":"Ready","status":"True"/.test(JSON.stringify(await call('GET', `/api/v1/nodes/${name}`))),
    )
  }
}
