/** Pods: the manifest, the mapping table, and a real API server. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { V1ContainerStatus, V1Pod, V1PodStatus } from '@kubernetes/client-node'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import { deadlineIn } from '../protocols/deadline.ts'
import { makeRunners } from '../runners/index.ts'
import { type Job, jobNameOf } from '../runners/job.ts'
import { makeKubernetesRunner } from '../runners/kubernetes.ts'
import type { KubernetesSettings } from '../runners/kubernetes-client.ts'
import { podOf } from '../runners/kubernetes-manifest.ts'
import { type PodMemory, podObservation } from '../runners/kubernetes-pod.ts'
import type { Runner } from '../runners/runner.ts'
import { kubernetes } from './support/kubernetes.ts'
import { type KubernetesTarget, kubernetesPlatform, kubernetesTarget } from './support/kubernetes-jobs.ts'
import { soon, tinyJob } from './support/runner-jobs.ts'
import { json, type Step, startScriptedServer } from './support/scripted-server.ts'

const image = `registry.test/model@sha256:${'a'.repeat(64)}`

describe('the manifest', () => {
  function manifest(
    over: Partial<PlatformOf<'kubernetes'>> = {},
    job = tinyJob(kubernetesPlatform),
    settings = {},
  ) {
    return podOf(job, { ...kubernetesPlatform, ...over }, 'vanilla-latte', settings)
  }

  test('KR-04: a bare Pod with name, labels, owner, account, image and the model’s variables', () => {
    const owner = { apiVersion: 'v1', kind: 'Pod', name: 'worker-0', uid: 'b7a6' }
    const job = tinyJob(kubernetesPlatform, 'good', { modelName: 'chicago-taxi', binary: { image } })
    const pod = manifest({}, job, { owner, serviceAccountName: 'worker' })
    expect(pod.metadata).toMatchObject({
      name: jobNameOf(job.key),
      namespace: 'vanilla-latte',
      labels: {
        'app.kubernetes.io/name': 'infra-validation-model-server',
        'infra-validation/job': job.key,
        'infra-validation/attempt': '1',
        'infra-validation/binary': '0',
      },
      annotations: {
        'infra-validation/workflow-id': job.ref.workflowId,
        'infra-validation/run-id': job.ref.runId,
        'infra-validation/model-digest': job.model.digest,
        'infra-validation/expires-at': job.expiresAt,
      },
      ownerReferences: [owner],
    })
    expect(pod.spec).toMatchObject({
      restartPolicy: 'Never',
      serviceAccountName: 'worker',
      automountServiceAccountToken: false,
      activeDeadlineSeconds: 86_400,
    })
    const [server] = pod.spec?.containers ?? []
    expect(server).toMatchObject({
      name: 'model-server',
      image,
      ports: [{ name: 'http', containerPort: 8080 }],
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      readinessProbe: { httpGet: { path: '/v2/models/chicago-taxi/ready', port: 'http' } },
    })
    expect(server?.livenessProbe).toBeUndefined()
    expect(server?.env).toEqual(
      expect.arrayContaining([
        { name: 'MODEL_NAME', value: 'chicago-taxi' },
        { name: 'MODEL_BASE_PATH', value: '/mnt/models' },
      ]),
    )
  })

  test('KR-05: a model on a claim is mounted read-only at the model’s path', () => {
    const pod = manifest({ modelClaim: { claimName: 'models', subPath: 'iris' } })
    expect(pod.spec?.volumes).toEqual([
      { name: 'model-volume', persistentVolumeClaim: { claimName: 'models', readOnly: true } },
    ])
    expect(pod.spec?.containers[0]?.volumeMounts).toEqual([
      { name: 'model-volume', mountPath: '/mnt/models', readOnly: true, subPath: 'iris' },
    ])
  })

  test('a remote model mounts nothing: its address is in the environment', () => {
    const model = { uri: 'gs://models/iris', digest: '', version: '1' }
    const pod = manifest({}, tinyJob(kubernetesPlatform, 'good', { model }))
    expect(pod.spec?.volumes).toBeUndefined()
    expect(pod.spec?.containers[0]?.env).toContainEqual({
      name: 'MODEL_BASE_PATH',
      value: 'gs://models/iris',
    })
  })

  test('KR-06: overrides reach the Pod exactly as given', () => {
    const secretKeyRef = { name: 'registry', key: 'token' }
    const job = tinyJob(kubernetesPlatform, 'good', {
      binary: {
        env: [
          { name: 'PLAIN', value: '1' },
          { name: 'EMPTY' },
          { name: 'TOKEN', valueFrom: { secretKeyRef } },
          { name: 'MODEL_NAME', value: 'mine' },
        ],
      },
    })
    const resources = {
      requests: { cpu: '500m' },
      limits: { cpu: '1', memory: '2Gi', 'nvidia.com/gpu': '1' },
    }
    const pod = manifest(
      { serviceAccountName: 'validator', activeDeadlineSeconds: 123, annotations: { team: 'ml' }, resources },
      job,
    )
    expect(pod.spec).toMatchObject({ serviceAccountName: 'validator', activeDeadlineSeconds: 123 })
    expect(pod.metadata?.annotations).toMatchObject({ team: 'ml' })
    const [server] = pod.spec?.containers ?? []
    expect(server?.resources).toEqual(resources)
    expect(server?.env).toEqual(
      expect.arrayContaining([
        { name: 'PLAIN', value: '1' },
        { name: 'EMPTY', value: '' },
        { name: 'TOKEN', valueFrom: { secretKeyRef } },
      ]),
    )
    expect(server?.env?.filter(({ name }) => name === 'MODEL_NAME')).toEqual([
      { name: 'MODEL_NAME', value: 'mine' },
    ])
  })

  test('BUG-13: limits, tolerations, node selectors and GPUs reach the Pod', () => {
    const job = tinyJob(kubernetesPlatform, 'good', {
      limits: { memoryBytes: 1_000_000_000, cpus: 2, gpus: 1 },
    })
    const tolerations = [{ key: 'gpu', operator: 'Exists' }]
    const pod = manifest({ tolerations, nodeSelector: { zone: 'a' }, runAsNonRoot: true, fsGroup: 7 }, job)
    const all = { cpu: '2', memory: '1000000000', 'nvidia.com/gpu': '1' }
    expect(pod.spec?.containers[0]?.resources).toEqual({ requests: all, limits: all })
    expect(pod.spec).toMatchObject({
      tolerations,
      nodeSelector: { zone: 'a' },
      securityContext: { seccompProfile: { type: 'RuntimeDefault' }, runAsNonRoot: true, fsGroup: 7 },
    })
  })

  test('a label that breaks Kubernetes’ rules becomes its hash', () => {
    const pod = manifest({ labels: { short: 'ok', long: 'x'.repeat(64), odd: 'a b' } })
    expect(pod.metadata?.labels?.short).toBe('ok')
    expect(pod.metadata?.labels?.long).toMatch(/^[0-9a-f]{32}$/)
    expect(pod.metadata?.labels?.odd).toMatch(/^[0-9a-f]{32}$/)
  })
})

describe('the mapping table', () => {
  const rules = { ports: { http: 8080 }, unschedulableGraceMs: 60_000 }
  const server = (over: Partial<V1ContainerStatus>): V1ContainerStatus => ({
    name: 'model-server',
    image,
    imageID: `docker-pullable://${image}`,
    ready: false,
    restartCount: 0,
    ...over,
  })
  const waiting = (reason: string) => server({ state: { waiting: { reason, message: `because ${reason}` } } })
  function look(
    status: V1PodStatus | undefined,
    metadata: V1Pod['metadata'] = {},
    memory: PodMemory = { pullErrors: 0 },
    nowMs = 0,
  ) {
    return podObservation({ metadata, ...(status && { status }) }, rules, memory, nowMs)
  }
  const seen = (...args: Parameters<typeof look>) => look(...args).seen

  test('Pending is Scheduled', () => {
    expect(seen({ phase: 'Pending' })).toEqual({ state: 'Scheduled', reason: 'Pending' })
  })

  test('BUG-09: pull back-off fails at once with the message; one ErrImagePull does not, two in a row do', () => {
    for (const reason of ['ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull']) {
      expect(seen({ phase: 'Pending', containerStatuses: [waiting(reason)] })).toMatchObject({
        failure: 'IMAGE_PULL_FAILED',
        message: `because ${reason}`,
      })
    }
    const failing = { phase: 'Pending', containerStatuses: [waiting('ErrImagePull')] }
    const first = look(failing)
    expect(first.seen.failure).toBeUndefined()
    expect(look(failing, {}, first.memory).seen.failure).toBe('IMAGE_PULL_FAILED')
    const between = look(
      { phase: 'Pending', containerStatuses: [waiting('ContainerCreating')] },
      {},
      first.memory,
    )
    expect(look(failing, {}, between.memory).seen.failure).toBeUndefined()
  })

  test('BUG-09: a Pod that has its node and no container yet is pulling', () => {
    const creating = { phase: 'Pending', containerStatuses: [waiting('ContainerCreating')] }
    const placed = { spec: { nodeName: 'a', containers: [] }, status: creating }
    expect(podObservation(placed, rules, { pullErrors: 0 }, 0).seen).toEqual({
      state: 'Scheduled',
      reason: 'ContainerCreating',
      pulling: true,
    })
    expect(seen(creating).pulling).toBeUndefined()
  })

  test('a container that cannot be made is CONFIG_INVALID at once', () => {
    for (const reason of ['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError']) {
      expect(seen({ phase: 'Pending', containerStatuses: [waiting(reason)] }).failure).toBe('CONFIG_INVALID')
    }
  })

  test('BUG-09: unschedulable fails after its grace, not before, and starts anew when it was scheduled between', () => {
    const conditions = [
      { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/2 nodes are available' },
    ]
    const first = look({ phase: 'Pending', conditions }, {}, { pullErrors: 0 }, 1000)
    expect(first.seen).toMatchObject({ state: 'Scheduled', reason: 'Unschedulable' })
    expect(first.seen.failure).toBeUndefined()
    expect(look({ phase: 'Pending', conditions }, {}, first.memory, 60_999).seen.failure).toBeUndefined()
    expect(look({ phase: 'Pending', conditions }, {}, first.memory, 61_000).seen).toMatchObject({
      failure: 'UNSCHEDULABLE',
      message: '0/2 nodes are available',
    })
    const placed = look({ phase: 'Pending' }, {}, first.memory, 61_000)
    expect(look({ phase: 'Pending', conditions }, {}, placed.memory, 62_000).seen.failure).toBeUndefined()
  })

  test('Running with an address and a started container has its endpoint and image digest', () => {
    const started = server({ state: { running: {} } })
    expect(seen({ phase: 'Running', podIP: '10.0.0.7', containerStatuses: [started] })).toEqual({
      state: 'Running',
      reason: 'Running',
      endpoints: { http: '10.0.0.7:8080' },
      imageDigest: `sha256:${'a'.repeat(64)}`,
    })
    expect(seen({ phase: 'Running', podIP: 'fd00::7', containerStatuses: [started] }).endpoints).toEqual({
      http: '[fd00::7]:8080',
    })
  })

  test('Running without an address, Unknown and a missing status are polled on', () => {
    const started = server({ state: { running: {} } })
    expect(seen({ phase: 'Running', containerStatuses: [started] })).toEqual({
      state: 'Scheduled',
      reason: 'Running',
    })
    expect(seen({ phase: 'Unknown' })).toEqual({ state: 'Scheduled', reason: 'Unknown' })
    expect(seen(undefined)).toEqual({ state: 'Scheduled', reason: 'no phase' })
  })

  test('a restarted container is aborted', () => {
    const sidecar = { ...server({ restartCount: 1, state: { running: {} } }), name: 'proxy' }
    expect(seen({ phase: 'Running', podIP: '10.0.0.7', containerStatuses: [sidecar] })).toMatchObject({
      state: 'Aborted',
      failure: 'JOB_ABORTED',
    })
    expect(seen({ phase: 'Running', containerStatuses: [waiting('CrashLoopBackOff')] }).state).toBe('Aborted')
  })

  const ended = (exitCode: number, reason: string) => [
    server({ state: { terminated: { exitCode, reason } } }),
  ]
  test('KR-08: Succeeded and Failed are aborted, with the exit code', () => {
    expect(seen({ phase: 'Succeeded', containerStatuses: ended(0, 'Completed') })).toMatchObject({
      state: 'Aborted',
      failure: 'JOB_ABORTED',
      exitCode: 0,
    })
    expect(seen({ phase: 'Failed', containerStatuses: ended(3, 'Error') })).toMatchObject({
      exitCode: 3,
      reason: 'Error',
    })
    expect(seen({ phase: 'Running', containerStatuses: ended(3, 'Error') }).state).toBe('Aborted')
  })

  // Issue 11, item 6.
  test('out of memory is told by the container’s reason alone: exit code 137 is a kill by whoever', () => {
    expect(seen({ phase: 'Failed', containerStatuses: ended(137, 'OOMKilled') })).toMatchObject({
      failure: 'OOM_KILLED',
      oomKilled: true,
      exitCode: 137,
    })
    expect(seen({ phase: 'Failed', containerStatuses: ended(137, 'Error') })).toMatchObject({
      failure: 'JOB_ABORTED',
      oomKilled: false,
      exitCode: 137,
    })
    const late = { phase: 'Failed', reason: 'DeadlineExceeded', containerStatuses: ended(137, 'Error') }
    expect(seen(late)).toMatchObject({ failure: 'JOB_ABORTED', reason: 'DeadlineExceeded' })
  })

  test('eviction and preemption are aborts that say so', () => {
    for (const reason of ['Evicted', 'Preempting', 'NodeLost']) {
      const status = { phase: 'Failed', reason, containerStatuses: ended(137, 'Error') }
      expect(seen(status)).toMatchObject({ failure: 'JOB_ABORTED', reason: `preempted (${reason})` })
    }
    const conditions = [
      { type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler', message: 'for web' },
    ]
    expect(seen({ phase: 'Failed', conditions })).toMatchObject({
      failure: 'JOB_ABORTED',
      reason: 'preempted (PreemptionByScheduler)',
      message: 'for web',
    })
  })

  test('a Pod that somebody deletes is aborted', () => {
    const started = [server({ state: { running: {} } })]
    const status = { phase: 'Running', podIP: '10.0.0.7', containerStatuses: started }
    expect(seen(status, { deletionTimestamp: new Date() })).toMatchObject({
      state: 'Aborted',
      reason: 'deleted',
    })
  })
})

test('KR-07: without any configuration the runner refuses at construction', () => {
  const job = tinyJob(kubernetesPlatform)
  const refused = expect.objectContaining({ code: 'CONFIG_INVALID' })
  expect(() => makeKubernetesRunner({}, job)).toThrow(refused)
  expect(() => makeKubernetesRunner({ kubeconfig: '/nowhere/kubeconfig' }, job)).toThrow(refused)
})

/** A kubeconfig file of one cluster; by default without a check of certificates, so that it may be plain HTTP. */
function kubeconfigOf(
  server: string,
  cluster: object = { 'insecure-skip-tls-verify': true },
  user = {},
): string {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-kubeconfig-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'config')
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server, ...cluster } }],
    users: [{ name: 'u', user }],
  }
  writeFileSync(file, JSON.stringify(config))
  return file
}

// Issue 11, item 6, and H-01.
describe('the way to a cluster', () => {
  const on = (over: object = {}) => ({ ...kubernetesPlatform, ...over })
  const clusters = (file: string) => ({ listed: file })

  test.each<[string, () => KubernetesSettings, object, string]>([
    ['is a file that is not there', () => ({ kubeconfig: '/nowhere/kubeconfig' }), {}, '/nowhere/kubeconfig'],
    ['is plain HTTP', () => ({ kubeconfig: kubeconfigOf('http://127.0.0.1:1', {}) }), {}, 'HTTP'],
    [
      'names a certificate that is not there',
      () => ({
        kubeconfig: kubeconfigOf('https://127.0.0.1:1', { 'certificate-authority': '/nowhere/ca.crt' }),
      }),
      {},
      '/nowhere/ca.crt',
    ],
    [
      'has a credential program that is not there',
      () => {
        const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: '/nowhere/login' }
        return { kubeconfig: kubeconfigOf('https://127.0.0.1:1', {}, { exec }) }
      },
      {},
      '/nowhere/login',
    ],
    ['is not among those of the worker', () => ({ clusters: clusters('/x') }), { cluster: 'other' }, 'other'],
    ['is no setting at all', () => ({ clusters: clusters('/x') }), {}, 'in-cluster'],
    ['lacks the context', () => ({ kubeconfig: kubeconfigOf('https://h') }), { context: 'd' }, 'cluster'],
  ])('that %s is CONFIG_INVALID before anything is started', async (_why, settings, platform, words) => {
    const runners = makeRunners({ kubernetes: settings() })
    await expect(runners.require(on(platform))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/^servingSpec\.platform\.cluster: /),
    })
    await expect(runners.require(on(platform))).rejects.toThrow(words)
  })

  test('is one that the worker lists, with the credential program of its own file', async () => {
    const server = await startScriptedServer(json({ kind: 'PodList', items: [] }))
    onTestFinished(() => server.close())
    const status = { token: 'from-the-program' }
    const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status }
    const exec = { apiVersion: credential.apiVersion, command: 'echo', args: [JSON.stringify(credential)] }
    const file = kubeconfigOf(server.origin, { 'insecure-skip-tls-verify': true }, { exec })
    const settings = { kubeconfig: kubeconfigOf('https://127.0.0.1:1'), clusters: clusters(file) }
    const runners = makeRunners({ kubernetes: settings })
    await runners.require(on({ cluster: 'listed' }))
    server.script(json({ kind: 'Status', code: 404 }, 404))
    const job = tinyJob(on({ cluster: 'listed' }))
    expect(await runners.of(job).observe()).toEqual({ state: 'Initial' })
    expect(server.calls.map(({ path, headers }) => [path, headers.authorization])).toEqual([
      [`/api/v1/namespaces/default/pods/${jobNameOf(job.key)}`, 'Bearer from-the-program'],
    ])
  })

  test('is never a file that a request named, not even in a spec stored before', async () => {
    const runners = makeRunners({ kubernetes: { kubeconfig: kubeconfigOf('https://127.0.0.1:1') } })
    const platform = on({ kubeconfig: '/data/files/mine.yaml' })
    const refused = { code: 'CONFIG_INVALID', message: expect.stringContaining('platform.kubeconfig: ') }
    await expect(runners.require(platform)).rejects.toMatchObject(refused)
    expect(() => runners.of(tinyJob(platform))).toThrow(expect.objectContaining(refused))
  })

  test('leftovers are looked for on every cluster that the worker lists, whichever is away', async () => {
    const server = await startScriptedServer(json({ kind: 'PodList', items: [] }))
    onTestFinished(() => server.close())
    const kubernetes = { kubeconfig: '/nowhere/kubeconfig', clusters: clusters(kubeconfigOf(server.origin)) }
    const { kubernetes: sweep } = await makeRunners({ kubernetes }).sweep(new Date())
    expect(sweep).toMatchObject({ removed: [], failed: [{ job: '*' }] })
    expect(server.calls).toHaveLength(1)
    const alone = makeRunners({ kubernetes: { clusters: kubernetes.clusters } })
    expect(await alone.sweep(new Date())).toEqual({ kubernetes: { removed: [], failed: [] } })
  })
})

describe('an API that misbehaves', () => {
  async function runnerAt(...steps: Parameters<Awaited<ReturnType<typeof startScriptedServer>>['script']>) {
    const server = await startScriptedServer()
    server.script(...steps)
    onTestFinished(() => server.close())
    const job = tinyJob(kubernetesPlatform)
    return { server, job, runner: makeKubernetesRunner({ kubeconfig: kubeconfigOf(server.origin) }, job) }
  }
  const status = (code: number, message: string) => json({ kind: 'Status', code, message }, code)

  test('5xx is PLATFORM_UNAVAILABLE, refusals are CONFIG_INVALID, a spent quota may be tried again', async () => {
    const cases = [
      [status(500, 'etcd is slow'), 'PLATFORM_UNAVAILABLE'],
      [status(422, 'spec.containers: Required value'), 'CONFIG_INVALID'],
      [status(403, 'pods is forbidden'), 'CONFIG_INVALID'],
      [status(403, 'pods "x" is forbidden: exceeded quota: compute'), 'PLATFORM_UNAVAILABLE'],
    ] as const
    for (const [step, code] of cases) {
      const { runner } = await runnerAt(step)
      await expect(runner.start()).rejects.toMatchObject({ code })
    }
  })

  test('a forbidden delete is reported with the line to type, not hammered', async () => {
    const { server, runner, job } = await runnerAt((call, response, request) => {
      const pod = {
        metadata: { name: jobNameOf(job.key), uid: 'u', labels: { 'infra-validation/job': job.key } },
      }
      const step = call.method === 'DELETE' ? status(403, 'pods is forbidden') : json(pod)
      step(call, response, request)
    })
    const report = await runner.stop(30, soon())
    expect(report).toMatchObject({ gone: false, attempts: 1 })
    expect(report.leftovers[0]).toContain(
      `kubectl delete pod ${jobNameOf(job.key)} -n default --grace-period=30`,
    )
    expect(server.calls.filter(({ method }) => method === 'DELETE')).toHaveLength(1)
  })

  // Issue 11, item 6.
  test.each([
    ['refuses to delete', (failing: Step) => (method: string) => (method === 'DELETE' ? failing : undefined)],
    ['does not answer', (failing: Step) => () => failing],
  ])('when the API %s, the last error names the Pod and the line to type', async (_does, failingFor) => {
    const failing = failingFor(status(500, 'etcd is slow'))
    const { runner, job } = await runnerAt((call, response, request) => {
      const metadata = { name: jobNameOf(job.key), uid: 'u', labels: { 'infra-validation/job': job.key } }
      const step = failing(call.method) ?? json({ metadata })
      step(call, response, request)
    })
    const { gone, lastError } = await runner.stop(30, deadlineIn(500))
    expect(gone).toBe(false)
    expect(lastError).toContain('etcd is slow')
    expect(lastError).toContain(`pod ${jobNameOf(job.key)}`)
    expect(lastError).toContain(`kubectl delete pod ${jobNameOf(job.key)} -n default --grace-period=30`)
  })

  test('a Pod that does not go is deleted again until the deadline, then reported with the line to type', async () => {
    const { server, runner, job } = await runnerAt((call, response, request) => {
      const metadata = { name: jobNameOf(job.key), uid: 'u', labels: { 'infra-validation/job': job.key } }
      const deletionTimestamp = new Date().toISOString()
      const deleted = server.calls.some(({ method }) => method === 'DELETE')
      json({ metadata: { ...metadata, ...(deleted && { deletionTimestamp }) } })(call, response, request)
    })
    const report = await runner.stop(0, deadlineIn(3000))
    expect(report).toMatchObject({ gone: false, lastError: expect.stringContaining('kubectl delete pod') })
    const deletes = server.calls.filter(({ method }) => method === 'DELETE')
    // The API server reads no query beside a body, and 0 seconds would hide a container that still runs.
    expect(JSON.parse(deletes[0]?.body ?? '')).toEqual({
      preconditions: { uid: 'u' },
      propagationPolicy: 'Foreground',
      gracePeriodSeconds: 1,
    })
  })

  test('BUG-04: logs that cannot be read never throw', async () => {
    const { runner } = await runnerAt(status(500, 'no kubelet'))
    expect(await runner.getLogs(100)).toEqual({ text: null, reason: expect.stringContaining('no kubelet') })
  })
})

kubernetes.describe('on a real API', () => {
  let target: KubernetesTarget
  beforeAll(async () => {
    target = await kubernetesTarget()
  }, 180_000)
  afterAll(() => target?.close())

  function runnerOf(job: Job): Runner {
    onTestFinished(async () => {
      expect(await target.runner(job).stop(0, soon())).toMatchObject({ gone: true })
    })
    return target.runner(job)
  }
  const on = (
    over: Partial<PlatformOf<'kubernetes'>>,
    jobOver: Parameters<KubernetesTarget['job']>[1] = {},
  ) => ({
    ...target.job('good', jobOver),
    platform: { ...kubernetesPlatform, ...over },
  })
  const read = (job: Job, namespace = 'default') =>
    target.api.readNamespacedPod({ name: jobNameOf(job.key), namespace })
  const names = async () =>
    (await target.api.listNamespacedPod({ namespace: 'default' })).items.map(({ metadata }) => metadata?.name)

  test('KR-01: start creates one Pod in the configured namespace', async () => {
    const metadata = (name: string) => ({ metadata: { name } })
    await target.api.createNamespace({ body: metadata('vanilla-latte') })
    await target.api.createNamespacedServiceAccount({ namespace: 'vanilla-latte', body: metadata('default') })
    const job = on({ namespace: 'vanilla-latte' })
    const runner = runnerOf(job)
    const started = await runner.start()
    const listed = await target.api.listNamespacedPod({ namespace: 'vanilla-latte' })
    expect(listed.items.map(({ metadata: found }) => [found?.name, found?.uid])).toEqual([
      [jobNameOf(job.key), started.platformRef],
    ])
  })

  test('KR-02 BY-07: however often a start is delivered, there is one Pod', async () => {
    const job = target.job()
    const runner = runnerOf(job)
    const { platformRef } = await runner.start()
    await expect(runner.start()).rejects.toMatchObject({ code: 'ALREADY_STARTED' })
    expect(await target.runner(job).start()).toMatchObject({ adopted: true, platformRef })
    expect((await names()).filter((name) => name === jobNameOf(job.key))).toHaveLength(1)
  })

  test('the API server accepts every override', async () => {
    const job = on({
      annotations: { team: 'ml' },
      labels: { tier: 'x'.repeat(80) },
      imagePullSecrets: ['registry'],
      nodeSelector: { type: 'kwok' },
      tolerations: [{ key: 'gpu', operator: 'Exists' }],
      resources: { requests: { cpu: '500m' }, limits: { cpu: '1', memory: '1Gi' } },
      runAsNonRoot: true,
      fsGroup: 1000,
      modelVolume: { emptyDir: {} },
    })
    const runner = runnerOf(job)
    await runner.start()
    await runner.waitUntilRunning(soon())
    expect((await read(job)).spec?.containers[0]?.resources).toMatchObject({
      limits: { cpu: '1', memory: '1Gi' },
    })
  })

  test('KR-09: stop deletes the Pod and returns only when it is gone', async () => {
    const job = target.job()
    const runner = runnerOf(job)
    await runner.start()
    await runner.waitUntilRunning(soon())
    expect(await runner.stop(1, soon())).toMatchObject({ gone: true, attempts: 1 })
    expect(await names()).not.toContain(jobNameOf(job.key))
  })

  test('a claim must exist and be sharable', async () => {
    const claim = async (mode: string) => {
      const name = `claim-${randomUUID()}`
      const spec = { accessModes: [mode], resources: { requests: { storage: '1Gi' } } }
      await target.api.createNamespacedPersistentVolumeClaim({
        namespace: 'default',
        body: { metadata: { name }, spec },
      })
      return name
    }
    for (const claimName of ['nowhere', await claim('ReadWriteOnce')]) {
      const runner = runnerOf(on({ modelClaim: { claimName } }))
      await expect(runner.start()).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('modelClaim.claimName'),
      })
    }
    const job = on({ modelClaim: { claimName: await claim('ReadOnlyMany') } })
    await runnerOf(job).start()
    expect((await read(job)).spec?.volumes?.[0]?.name).toBe('model-volume')
  })

  test('BUG-13: a Pod with a GPU runs where one is; one that asks for too many is UNSCHEDULABLE after its grace', async () => {
    const fits = runnerOf(target.job('good', { limits: { gpus: 8 } }))
    await fits.start()
    await fits.waitUntilRunning(soon())
    const greedy = runnerOf(on({ unschedulableGraceSeconds: 0.3 }, { limits: { gpus: 16 } }))
    await greedy.start()
    await expect(greedy.waitUntilRunning(soon())).rejects.toMatchObject({
      code: 'UNSCHEDULABLE',
      message: expect.stringContaining('Insufficient nvidia.com/gpu'),
    })
  })

  test('a Pod that the API server refuses is CONFIG_INVALID with its words', async () => {
    const runner = runnerOf(on({ nodeSelector: { 'not a key!': 'x' } }))
    await expect(runner.start()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('nodeSelector'),
    })
  })

  test('KR-08 BUG-08: a Pod that ends is seen at the next look', async () => {
    const job = target.job()
    const runner = runnerOf(job)
    await runner.start()
    await runner.waitUntilRunning(soon())
    await vi.waitFor(
      async () => {
        const pod = await read(job)
        const status = {
          ...pod.status,
          phase: 'Failed',
          reason: 'Evicted',
          message: 'node was low on memory',
        }
        const body = { ...pod, status }
        await target.api.replaceNamespacedPodStatus({ name: jobNameOf(job.key), namespace: 'default', body })
      },
      { timeout: 30_000 },
    )
    await vi.waitFor(async () =>
      expect(await runner.observe()).toMatchObject({
        state: 'Aborted',
        failure: 'JOB_ABORTED',
        reason: 'preempted (Evicted)',
      }),
    )
    expect(runner.state).toBe('Aborted')
  })
})
