/** Process jobs: groups, orphans, exit codes that nobody watched, and what the disk may know. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { type Job, jobNameOf } from '../runners/job.ts'
import { readJobFile, writeJobFile } from '../runners/job-folder.ts'
import { makeProcessRunner } from '../runners/process.ts'
import { isAlive, listProcesses, readProcess, startedWith } from '../runners/process-table.ts'
import type { Runner } from '../runners/runner.ts'
import { processTarget, soon } from './support/runner-jobs.ts'

let target: ReturnType<typeof processTarget>
beforeAll(() => {
  target = processTarget()
})
afterAll(() => target.close())

const folderOf = (job: Job) => join(target.root, jobNameOf(job.key))

function runnerOf(job: Job): Runner {
  const runner = target.runner(job)
  onTestFinished(async () => {
    await target.runner(job).stop(0, soon())
  })
  return runner
}

async function membersOf(job: Job): Promise<number[]> {
  const living = (await listProcesses()).filter(({ zombie }) => !zombie)
  const marks = await Promise.all(
    living.map(({ pid }) => startedWith(pid, `PERDURE_JOB=${jobNameOf(job.key)}`)),
  )
  return living.filter((_, index) => marks[index]).map(({ pid }) => pid)
}

async function answering(runner: Runner): Promise<string> {
  const { endpoint } = await runner.waitUntilRunning(soon())
  await vi.waitFor(async () => expect((await fetch(`http://${endpoint}/env`)).ok).toBe(true), 30_000)
  return endpoint
}

test('BY-05: after stop no child lives, neither in the group nor escaped from it, and the port is closed', async () => {
  const runner = runnerOf(target.job('children'))
  await runner.start()
  const endpoint = await answering(runner)
  await vi.waitFor(async () => expect(await membersOf(runner.job)).toHaveLength(3), 30_000)
  expect(await runner.stop(10, soon())).toMatchObject({ gone: true, killed: false, leftovers: [] })
  expect(await membersOf(runner.job)).toEqual([])
  await expect(connected(endpoint)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('children that outlive a crashed leader are stopped with the job', async () => {
  const runner = runnerOf(target.job('children'))
  await runner.start()
  const endpoint = await answering(runner)
  await vi.waitFor(async () => expect(await membersOf(runner.job)).toHaveLength(3), 30_000)
  await fetch(`http://${endpoint}/exit`).catch(() => undefined)
  await vi.waitFor(async () => expect((await runner.observe()).state).toBe('Aborted'), 30_000)
  expect(await membersOf(runner.job)).toHaveLength(2)
  expect(await runner.stop(10, soon())).toMatchObject({ gone: true })
  expect(await membersOf(runner.job)).toEqual([])
})

test('the exit code survives that nobody was watching', async () => {
  const job = target.job('crash', { binary: { env: [{ name: 'EXIT_CODE', value: '42' }] } })
  await runnerOf(job).start()
  await vi.waitFor(async () => expect(await readJobFile(folderOf(job), 'exit.json')).toBeDefined(), 30_000)
  expect(await target.runner(job).observe()).toMatchObject({ state: 'Aborted', exitCode: 42 })
})

test('BY-08: the job survives kill -9 of the process that started it, and another one adopts and stops it', async () => {
  const job = target.job()
  runnerOf(job)
  const script = `
    import { makeProcessRunner } from ${JSON.stringify(new URL('../runners/process.ts', import.meta.url).href)}
    const { settings, job } = JSON.parse(process.env.CASE)
    await makeProcessRunner(settings, job).start()
    console.log('started')
    setInterval(() => {}, 1000)`
  const starter = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, CASE: JSON.stringify({ settings: { root: target.root }, job }) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void starter.kill('SIGKILL'))
  await new Promise((resolve) => starter.stdout.once('data', resolve))
  starter.kill('SIGKILL')
  await new Promise((resolve) => starter.once('exit', resolve))
  const adopted = target.runner(job)
  expect(await adopted.start()).toMatchObject({ adopted: true })
  await answering(adopted)
  expect(await adopted.stop(10, soon())).toMatchObject({ gone: true })
})

test('a job whose supervisor was killed is still watched and stopped', async () => {
  const runner = runnerOf(target.job())
  await runner.start()
  const endpoint = await answering(runner)
  const supervisor = await readJobFile(folderOf(runner.job), 'supervisor.json')
  process.kill(supervisor?.pid ?? 0, 'SIGKILL')
  expect(await runner.observe()).toMatchObject({ state: 'Running' })
  await fetch(`http://${endpoint}/exit`).catch(() => undefined)
  await vi.waitFor(async () => expect(await runner.observe()).toMatchObject({ reason: 'lost' }), 30_000)
  expect(await runner.stop(1, soon())).toMatchObject({ gone: true })
})

// Issue 11, item 6.
test('a job that a stranger kills is aborted, not out of memory', async () => {
  const runner = runnerOf(target.job())
  await runner.start()
  await answering(runner)
  const server = await readJobFile(folderOf(runner.job), 'server.json')
  process.kill(server?.pid ?? 0, 'SIGKILL')
  await vi.waitFor(
    async () =>
      expect(await runner.observe()).toMatchObject({
        state: 'Aborted',
        failure: 'JOB_ABORTED',
        oomKilled: false,
        signal: 'SIGKILL',
      }),
    30_000,
  )
})

const cgroup = memoryGroup(256 * 1024 * 1024)
test.skipIf(cgroup === undefined)(
  'a job that the kernel kills for memory is OOM_KILLED (needs a writable memory cgroup)',
  async () => {
    const job = target.job('hog')
    runnerOf(job)
    const script = `
    import { appendFileSync } from 'node:fs'
    import { makeProcessRunner } from ${JSON.stringify(new URL('../runners/process.ts', import.meta.url).href)}
    const { group, settings, job } = JSON.parse(process.env.CASE)
    appendFileSync(group + '/cgroup.procs', String(process.pid))
    await makeProcessRunner(settings, job).start()`
    const starter = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: {
        ...process.env,
        CASE: JSON.stringify({ group: cgroup, settings: { root: target.root }, job }),
      },
      stdio: 'inherit',
    })
    onTestFinished(() => void starter.kill('SIGKILL'))
    expect(await new Promise((resolve) => starter.once('exit', resolve))).toBe(0)
    await vi.waitFor(
      async () =>
        expect(await target.runner(job).observe()).toMatchObject({
          state: 'Aborted',
          failure: 'OOM_KILLED',
          oomKilled: true,
          signal: 'SIGKILL',
        }),
      60_000,
    )
  },
)

test('a pid that was given to another process is not ours to stop', async () => {
  const job = target.job()
  const bystander = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })
  onTestFinished(() => void bystander.kill('SIGKILL'))
  await writeJobFile(folderOf(job), 'server.json', { pid: bystander.pid ?? 0, startTime: '1' })
  expect(await target.runner(job).stop(0, soon())).toMatchObject({ gone: true, killed: false })
  expect((await readProcess(bystander.pid ?? 0))?.zombie).toBe(false)
})

test('a command that does not exist is CONFIG_INVALID and leaves nothing', async () => {
  const runner = runnerOf(target.job('good', { binary: { command: ['/nowhere/server'] } }))
  await expect(runner.start()).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('servingSpec.binary.command'),
  })
  expect(await runner.stop(1, soon())).toMatchObject({ gone: true })
})

test('a start delivered after the stop creates nothing', async () => {
  const job = target.job()
  await runnerOf(job).stop(1, soon())
  await expect(target.runner(job).start()).rejects.toMatchObject({ code: 'ALREADY_STARTED' })
  expect(await membersOf(job)).toEqual([])
})

test('every named port is free, different and passed on', async () => {
  const job = target.job('good', {
    binary: {
      ports: { http: 8080, grpc: 8081, metrics: 8082 },
      env: [{ name: 'ALL', value: '$(PORT) $(PORT_GRPC) $(PORT_METRICS) $$(PORT) $(NOPE)' }],
    },
  })
  const runner = runnerOf(job)
  await runner.start()
  const endpoint = await answering(runner)
  const env = (await (await fetch(`http://${endpoint}/env`)).json()) as Record<string, string>
  const ports = [env.PORT, env.PORT_GRPC, env.PORT_METRICS]
  expect(new Set(ports).size).toBe(3)
  expect(env.ALL).toBe(`${ports.join(' ')} $(PORT) $(NOPE)`)
  expect(runner.getEndpoint('grpc')).toBe(`127.0.0.1:${env.PORT_GRPC}`)
})

test('peak memory is known, also after the process has gone', async () => {
  const runner = runnerOf(target.job())
  await runner.start()
  const endpoint = await answering(runner)
  await vi.waitFor(
    async () => expect((await runner.observe()).peakMemoryBytes).toBeGreaterThan(10_000_000),
    30_000,
  )
  await fetch(`http://${endpoint}/exit`).catch(() => undefined)
  await vi.waitFor(async () => expect((await runner.observe()).state).toBe('Aborted'), 30_000)
  expect((await runner.observe()).peakMemoryBytes).toBeGreaterThan(10_000_000)
})

test('no secret reaches the disk, and the worker’s own environment does not reach the server', async () => {
  process.env.WORKERS_OWN = 'not yours'
  onTestFinished(() => {
    delete process.env.WORKERS_OWN
  })
  const job = target.job('exits-0', {
    secrets: { API_KEY: 'hunter2-hunter2' },
    binary: { env: [{ name: 'API_KEY', valueFrom: { secret: 'API_KEY' } }] },
  })
  const runner = runnerOf(job)
  await runner.start()
  for (const name of readdirSync(folderOf(job)).filter((entry) => !entry.startsWith('.'))) {
    expect(readFileSync(join(folderOf(job), name), 'utf8')).not.toContain('hunter2')
  }
  const plain = runnerOf(target.job())
  await plain.start()
  const env = await (await fetch(`http://${await answering(plain)}/env`)).json()
  expect(env).not.toHaveProperty('WORKERS_OWN')
})

test('BUG-07: no signal handler of this process is added by a job', async () => {
  const count = () => (['SIGTERM', 'SIGINT'] as const).map((name) => process.listenerCount(name))
  const before = count()
  const runner = makeProcessRunner({ root: target.root }, target.job())
  await runner.start()
  await runner.waitUntilRunning(soon())
  expect(count()).toEqual(before)
  await runner.stop(5, soon())
  expect(count()).toEqual(before)
})

test('the table knows this process by pid and start time', async () => {
  const self = await readProcess(process.pid)
  expect(await isAlive(process.pid, self?.startTime ?? '')).toBe(true)
  expect(await isAlive(process.pid, 'another')).toBe(false)
})

function connected(endpoint: string): Promise<void> {
  const [host, port] = endpoint.split(':')
  return new Promise((resolve, reject) => {
    const socket = connect({ host: host ?? '', port: Number(port) })
    socket.once('error', reject).once('connect', () => {
      socket.destroy()
      resolve()
    })
  })
}

/** A cgroup (version 1) with so much memory, for this file; undefined where none can be made. */
function memoryGroup(bytes: number): string | undefined {
  const own = /^\d+:memory:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
  const parents = [`/sys/fs/cgroup/memory${own}`, '/sys/fs/cgroup/memory'].filter(existsSync)
  const folder = `${parents[0]}/perdure-test-${process.pid}`
  try {
    mkdirSync(folder)
    writeFileSync(`${folder}/memory.limit_in_bytes`, String(bytes))
  } catch {
    return undefined
  }
  afterAll(() => rmdirSync(folder))
  return folder
}
