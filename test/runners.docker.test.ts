/** Containers of a real engine: what is created, what its answers mean, images, limits, removal. */
import { randomUUID } from 'node:crypto'
import type { Container, ContainerInspectInfo } from 'dockerode'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { deadlineIn } from '../protocols/deadline.ts'
import { waitUntilReady } from '../protocols/readiness.ts'
import { makeDockerRunner } from '../runners/docker.ts'
import { containerOf, observationOf, plainOutput } from '../runners/docker-container.ts'
import { resolveDockerImage } from '../runners/docker-image.ts'
import { type Job, jobNameOf } from '../runners/job.ts'
import type { Runner } from '../runners/runner.ts'
import { docker } from './support/docker.ts'
import { type DockerTarget, dockerPlatform, dockerTarget, tinyImage } from './support/docker-jobs.ts'
import { startTinyRegistry } from './support/image-registry.ts'
import { modelFolder, soon, tinyJob } from './support/runner-jobs.ts'

const mib = 1024 * 1024

describe('the container that is asked for', () => {
  test('DR-01: exactly the configured image, its ports on loopback, model name and base path in the environment', () => {
    const job = tinyJob(dockerPlatform, 'good', {
      modelName: 'chicago-taxi',
      binary: {
        kind: 'tensorflow_serving',
        image: 'tensorflow/serving:latest',
        ports: { http: 8501, grpc: 8500 },
        modelMountPath: '/model/chicago-taxi/1',
      },
    })
    const wanted = containerOf(job, dockerPlatform)
    expect(wanted).toMatchObject({ name: jobNameOf(job.key), Image: 'tensorflow/serving:latest' })
    expect(wanted.Env).toEqual(expect.arrayContaining(['MODEL_NAME=chicago-taxi', 'MODEL_BASE_PATH=/model']))
    expect(wanted.HostConfig?.PortBindings).toEqual({
      '8501/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }],
      '8500/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }],
    })
    expect(wanted.HostConfig).toMatchObject({ AutoRemove: false, RestartPolicy: { Name: 'no' } })
  })

  test('a user’s variable replaces ours, and none is there twice', () => {
    const job = tinyJob(dockerPlatform, 'good', { binary: { env: [{ name: 'MODEL_NAME', value: 'mine' }] } })
    const names = containerOf(job, dockerPlatform).Env?.filter((entry) => entry.startsWith('MODEL_NAME='))
    expect(names).toEqual(['MODEL_NAME=mine'])
  })

  test('a remote model is not mounted: its address is the base path', () => {
    const model = { uri: 's3://models/iris', digest: '', version: '1' }
    const wanted = containerOf(tinyJob(dockerPlatform, 'good', { model }), dockerPlatform)
    expect(wanted.HostConfig?.Mounts).toBeUndefined()
    expect(wanted.Env).toContain('MODEL_BASE_PATH=s3://models/iris')
  })

  test('BUG-13: limits and GPUs reach the engine', () => {
    const limits = { memoryBytes: 512 * mib, cpus: 1.5, pids: 64, gpus: 2 }
    expect(containerOf(tinyJob(dockerPlatform, 'good', { limits }), dockerPlatform).HostConfig).toMatchObject(
      {
        Memory: 512 * mib,
        MemorySwap: 512 * mib,
        NanoCpus: 1_500_000_000,
        PidsLimit: 64,
        DeviceRequests: [{ Count: 2, Capabilities: [['gpu']] }],
      },
    )
  })
})

describe('what the engine says', () => {
  const job = tinyJob(dockerPlatform, 'good', { binary: { ports: { http: 8501, grpc: 8500 } } })
  function seen(status: string, over: object = {}, ports: object = {}) {
    const state = { Status: status, ExitCode: 0, OOMKilled: false, Error: '', ...over }
    const info = {
      State: state,
      NetworkSettings: { Ports: ports },
      HostConfig: {},
    } as unknown as ContainerInspectInfo
    return observationOf(info, job, dockerPlatform)
  }
  const mapping = (http: string, grpc: string, HostIp = '127.0.0.1') => ({
    '8501/tcp': [{ HostIp, HostPort: http }],
    '8500/tcp': [{ HostIp, HostPort: grpc }],
  })

  test('DR-05: the endpoints are the mappings of the binary’s own ports', () => {
    expect(seen('running', {}, mapping('5678', '1234'))).toMatchObject({
      state: 'Running',
      endpoints: { http: '127.0.0.1:5678', grpc: '127.0.0.1:1234' },
    })
  })

  test('BUG-14: running without a mapping has no endpoint yet', () => {
    expect(seen('running')).toEqual({ state: 'Running', reason: 'running' })
    expect(seen('running', {}, { '8501/tcp': null })).toEqual({ state: 'Running', reason: 'running' })
  })

  test('IPv6 mappings are taken when there is no other', () => {
    const both = {
      ...mapping('1', '2', '::'),
      '8501/tcp': [
        { HostIp: '::', HostPort: '9' },
        { HostIp: '0.0.0.0', HostPort: '1' },
      ],
    }
    expect(seen('running', {}, both).endpoints).toEqual({ http: '127.0.0.1:1', grpc: '[::1]:2' })
  })

  test('DR-07: everything but created and running is aborted', () => {
    expect(seen('created').state).toBe('Scheduled')
    for (const status of ['paused', 'restarting', 'removing', 'exited', 'dead']) {
      expect(seen(status)).toMatchObject({ state: 'Aborted', failure: 'JOB_ABORTED', reason: status })
    }
    expect(seen('exited', { ExitCode: 137, OOMKilled: true })).toMatchObject({
      failure: 'OOM_KILLED',
      exitCode: 137,
    })
    expect(seen('exited', { ExitCode: 1, Error: 'no such device' })).toMatchObject({
      message: 'no such device',
    })
  })

  // Issue 11, item 6.
  test('exit code 137 alone is a kill by whoever, not memory that ran out', () => {
    const killed = { failure: 'JOB_ABORTED', exitCode: 137, oomKilled: false }
    expect(seen('exited', { ExitCode: 137 })).toMatchObject(killed)
    expect(seen('removing', { ExitCode: 137 })).toMatchObject(killed)
  })

  test('output is read with and without frames', () => {
    const frame = (stream: number, text: string) => {
      const head = Buffer.alloc(8)
      head[0] = stream
      head.writeUInt32BE(text.length, 4)
      return Buffer.concat([head, Buffer.from(text)])
    }
    expect(plainOutput(Buffer.concat([frame(1, 'out\n'), frame(2, 'err\n')])).toString()).toBe('out\nerr\n')
    expect(plainOutput(Buffer.from('a terminal’s output')).toString()).toBe('a terminal’s output')
    expect(plainOutput(Buffer.alloc(0)).toString()).toBe('')
  })
})

test('no engine at all is PLATFORM_UNAVAILABLE, and stop says that it could not look', async () => {
  const runner = makeDockerRunner({ baseUrl: 'unix:///nowhere/docker.sock' }, tinyJob(dockerPlatform))
  await expect(runner.start()).rejects.toMatchObject({ code: 'PLATFORM_UNAVAILABLE' })
  expect(await runner.stop(0, deadlineIn(0))).toMatchObject({
    gone: false,
    attempts: 1,
    lastError: expect.stringContaining('Docker Engine'),
  })
})

docker.describe('on a real engine', () => {
  let target: DockerTarget
  beforeAll(async () => {
    target = await dockerTarget()
  }, 180_000)
  afterAll(() => target?.close())

  function runnerOf(job: Job): Runner {
    onTestFinished(async () => {
      expect(await target.runner(job).stop(0, soon())).toMatchObject({ gone: true })
    })
    return target.runner(job)
  }
  const inspect = (job: Job) => target.engine.getContainer(jobNameOf(job.key)).inspect()
  const names = async () => (await target.engine.listContainers({ all: true })).flatMap(({ Names }) => Names)
  async function answer(runner: Runner, path: string): Promise<string> {
    const { endpoint } = await runner.waitUntilRunning(soon())
    return await vi.waitFor(
      async () => (await fetch(`http://${endpoint}${path}`, { signal: AbortSignal.timeout(2000) })).text(),
      30_000,
    )
  }

  test('the container carries the labels by which anyone finds it', async () => {
    const job = target.job()
    await runnerOf(job).start()
    expect((await inspect(job)).Config.Labels).toMatchObject({
      'infra-validation/job': job.key,
      'infra-validation/workflow-id': job.ref.workflowId,
      'infra-validation/run-id': job.ref.runId,
      'infra-validation/attempt': '1',
      'infra-validation/binary': '0',
      'infra-validation/model-digest': job.model.digest,
      'infra-validation/expires-at': job.expiresAt,
      'infra-validation/host': job.host,
    })
  })

  test('the model is mounted read-only at the binary’s path', async () => {
    const folder = modelFolder()
    onTestFinished(() => folder.remove())
    const runner = runnerOf(
      target.job('good', { model: { path: folder.path, digest: 'sha256:0', version: '1' } }),
    )
    await runner.start()
    expect(await answer(runner, '/model')).toBe('1 2 3')
    expect(JSON.parse(await answer(runner, '/write'))).toEqual({ written: false, code: 'EROFS' })
  })

  test('DR-01: the container is hardened and only reachable on loopback', async () => {
    const job = target.job('good', { limits: { memoryBytes: 256 * mib, cpus: 0.5, pids: 100 } })
    const runner = runnerOf(job)
    await runner.start()
    await runner.waitUntilRunning(soon())
    const { HostConfig: host, NetworkSettings: network } = await inspect(job)
    expect(host).toMatchObject({
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      Memory: 256 * mib,
      MemorySwap: 256 * mib,
      NanoCpus: 500_000_000,
      PidsLimit: 100,
      AutoRemove: false,
    })
    expect(network.Ports['8080/tcp']?.map(({ HostIp }) => HostIp)).toEqual(['127.0.0.1'])
  })

  test('a read-only root with a scratch folder serves', async () => {
    const platform = { ...dockerPlatform, readOnlyRoot: true, tmpfs: ['/tmp'], user: '1000' }
    const runner = runnerOf({ ...target.job(), platform })
    await runner.start()
    expect(JSON.parse(await answer(runner, '/env'))).toMatchObject({ MODEL_NAME: 'tiny' })
  })

  test('on an internal network the container is reached at its own address', async () => {
    const network = `perdure-test-${randomUUID()}`
    const made = await target.engine.createNetwork({ Name: network, Internal: true })
    onTestFinished(() => made.remove())
    const job = { ...target.job(), platform: { ...dockerPlatform, network } }
    const runner = runnerOf(job)
    await runner.start()
    expect(JSON.parse(await answer(runner, '/env'))).toMatchObject({ MODEL_NAME: 'tiny' })
    expect(runner.getEndpoint()).not.toContain('127.0.0.1')
  })

  test('peak memory is measured while the container runs', async () => {
    const runner = runnerOf(target.job())
    await runner.start()
    await answer(runner, '/env')
    await vi.waitFor(
      async () => expect((await runner.observe()).peakMemoryBytes).toBeGreaterThan(mib),
      30_000,
    )
  })

  test('BUG-03: out of memory keeps exit code, flag and logs until stop', async () => {
    const runner = runnerOf(target.job('hog', { limits: { memoryBytes: 128 * mib } }))
    await runner.start()
    await vi.waitFor(async () => expect((await runner.observe()).state).toBe('Aborted'), 30_000)
    expect(await target.runner(runner.job).observe()).toMatchObject({
      failure: 'OOM_KILLED',
      oomKilled: true,
      exitCode: 137,
      peakMemoryBytes: 128 * mib,
    })
    expect((await runner.getLogs(1000)).text).toContain('tiny-model-server: hog')
  })

  test('a server that is up but never ready fails by deadline, its job still running', async () => {
    const runner = runnerOf(target.job('never-ready'))
    await runner.start()
    const { endpoints } = await runner.waitUntilRunning(soon())
    const wait = waitUntilReady({
      target: { endpoints, modelName: 'tiny', binary: { kind: 'open-inference-v2' } },
      observe: runner.observe,
      deadline: deadlineIn(1500),
      pollIntervalMs: 100,
      readyStreak: 2,
    })
    await expect(wait).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    expect((await runner.observe()).state).toBe('Running')
  })

  test('a crash while the model loads ends the wait with its exit code', async () => {
    const runner = runnerOf(target.job('never-ready'))
    await runner.start()
    const { endpoints } = await runner.waitUntilRunning(soon())
    await answer(runner, '/env')
    const wait = waitUntilReady({
      target: { endpoints, modelName: 'tiny', binary: { kind: 'open-inference-v2' } },
      observe: runner.observe,
      deadline: soon(),
      pollIntervalMs: 100,
      readyStreak: 2,
    })
    await fetch(`http://${endpoints.http}/exit`).catch(() => undefined)
    await expect(wait).rejects.toMatchObject({
      code: 'JOB_ABORTED',
      message: expect.stringContaining('code 3'),
    })
  })

  // Issue 11, item 6.
  test.each([
    ['kills', (container: Container) => container.kill({ signal: 'SIGKILL' })],
    ['removes', (container: Container) => container.remove({ force: true })],
  ])('a container that a stranger %s is aborted, not out of memory', async (_does, end) => {
    const job = target.job()
    const runner = runnerOf(job)
    await runner.start()
    await runner.waitUntilRunning(soon())
    const ending = end(target.engine.getContainer(jobNameOf(job.key)))
    await vi.waitFor(async () => expect((await runner.observe()).state).toBe('Aborted'), 30_000)
    expect(await runner.observe()).toMatchObject({ failure: 'JOB_ABORTED' })
    await ending
    expect(await runner.observe()).toMatchObject({ failure: 'JOB_ABORTED' })
  })

  test('DR-06: every look asks the engine again', async () => {
    const job = target.job()
    const runner = runnerOf(job)
    await runner.start()
    await runner.waitUntilRunning(soon())
    await target.engine.getContainer(jobNameOf(job.key)).pause()
    expect(await runner.observe()).toMatchObject({ state: 'Aborted', reason: 'paused' })
  })

  test('BUG-11: when the create succeeds and the start fails, no container stays behind', async () => {
    const job = target.job('good', { binary: { command: ['/nowhere/server'] } })
    const runner = runnerOf(job)
    await expect(runner.start()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect(await names()).not.toContain(`/${jobNameOf(job.key)}`)
    const gpu = target.job('good', { limits: { gpus: 1 } })
    await expect(runnerOf(gpu).start()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect(await names()).not.toContain(`/${jobNameOf(gpu.key)}`)
  })

  test('a container created but not started by a start that died is started by the next delivery', async () => {
    const job = target.job()
    const runner = runnerOf(job)
    await target.engine.createContainer(containerOf(job, dockerPlatform))
    expect(await runner.observe()).toMatchObject({ state: 'Scheduled' })
    expect(await runner.start()).toMatchObject({ adopted: true })
    await answer(runner, '/env')
  })

  test('a foreign container of the same name is neither adopted nor removed', async () => {
    const job = target.job()
    const foreign = await target.engine.createContainer({ name: jobNameOf(job.key), Image: tinyImage })
    onTestFinished(() => foreign.remove({ force: true }))
    await expect(target.runner(job).start()).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect(await target.runner(job).stop(0, soon())).toMatchObject({ gone: true })
    expect((await foreign.inspect()).Id).toBe(foreign.id)
  })

  test('an image that is not there is IMAGE_PULL_FAILED, at start and when resolved', async () => {
    const image = `localhost/perdure-missing-${randomUUID()}:1`
    const runner = runnerOf(target.job('good', { binary: { image } }))
    await expect(runner.start()).rejects.toMatchObject({ code: 'IMAGE_PULL_FAILED' })
    await expect(resolveDockerImage({}, dockerPlatform, image, soon())).rejects.toMatchObject({
      code: 'IMAGE_PULL_FAILED',
      message: expect.stringContaining('Never'),
    })
  })

  test('a local image is pinned by its image id', async () => {
    const resolved = await resolveDockerImage({}, dockerPlatform, tinyImage, soon())
    const { Id } = await target.engine.getImage(tinyImage).inspect()
    expect(resolved).toEqual({ image: Id, digest: Id, digestKind: 'imageId' })
    const job = target.job('good', { binary: { image: Id } })
    await runnerOf(job).start()
    expect((await inspect(job)).Image).toBe(Id)
  })

  describe('with a registry', () => {
    const pulling = { ...dockerPlatform, pullPolicy: 'IfNotPresent' as const }
    async function registryOf(options?: Parameters<typeof startTinyRegistry>[0]) {
      const registry = await startTinyRegistry(options)
      onTestFinished(async () => {
        await target.engine
          .getImage(registry.image)
          .remove({ force: true })
          .catch(() => undefined)
        await registry.close()
      })
      return registry
    }

    test('BUG-12: a tag is resolved to the digest of its manifest', async () => {
      const registry = await registryOf()
      const resolved = await resolveDockerImage({}, pulling, registry.image, soon())
      expect(resolved).toEqual({
        image: `${registry.repository}@${registry.digest}`,
        digest: registry.digest,
        digestKind: 'manifest',
      })
    })

    test('BUG-09: a pull ends at its own budget', async () => {
      const registry = await registryOf({ delayMs: 60_000 })
      await expect(resolveDockerImage({}, pulling, registry.image, deadlineIn(500))).rejects.toMatchObject({
        code: 'IMAGE_PULL_FAILED',
        message: expect.stringContaining('within its budget'),
      })
    })

    test('BY-01: a cancelled pull ends with the cancellation', async () => {
      const registry = await registryOf({ delayMs: 60_000 })
      const controller = new AbortController()
      const pull = resolveDockerImage({}, pulling, registry.image, soon(), controller.signal)
      await vi.waitFor(() => expect(registry.requests).toBeGreaterThan(0), 30_000)
      controller.abort(new Error('cancelled'))
      await expect(pull).rejects.toThrow('cancelled')
    })

    test('BUG-09: an unknown tag fails at once, also while others may be tried again', async () => {
      const registry = await registryOf()
      const image = `${registry.repository}:nope`
      await expect(resolveDockerImage({}, pulling, image, soon())).rejects.toMatchObject({
        code: 'IMAGE_PULL_FAILED',
        message: expect.stringContaining('nope'),
      })
    })

    // Issue 11, item 6.
    test('a registry that is away is asked again until the budget is spent, and then told of', async () => {
      const registry = await registryOf()
      await registry.close()
      const failed = resolveDockerImage({}, pulling, registry.image, deadlineIn(1500))
      await expect(failed).rejects.toMatchObject({
        code: 'IMAGE_PULL_FAILED',
        message: expect.stringMatching(/within its budget: .*refused/),
      })
    })

    test('a registry that comes back within the budget gives the image after all', async () => {
      const registry = await registryOf({ busy: 2 })
      expect(await resolveDockerImage({}, pulling, registry.image, soon())).toMatchObject({
        digest: registry.digest,
      })
    })

    test('a layer that cannot be fetched is told of, although an older image of that name is there', async () => {
      const registry = await registryOf({ lostBlobs: true })
      await target.engine.getImage(tinyImage).tag({ repo: registry.repository, tag: '1' })
      const broken = { ...pulling, pullPolicy: 'Always' as const }
      await expect(resolveDockerImage({}, broken, registry.image, deadlineIn(1500))).rejects.toMatchObject({
        code: 'IMAGE_PULL_FAILED',
      })
    })
  })
})
