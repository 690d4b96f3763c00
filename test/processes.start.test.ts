/**
 * What a process does when something it needs is wrong or away: what waiting does not mend is one line and exit code 1,
 * nothing half-started; what may come back is waited for, with /live 200 and /ready 503 meanwhile. Never a password.
 */
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { createServer } from 'node:http2'
import { join } from 'node:path'
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { lastingPorts } from '../dev/free-ports.ts'
import { temporaryFolder } from './support/folders.ts'
import { describeWithCluster, sharedCluster, startCluster } from './support/postgres.ts'
import { type Program, startProgram } from './support/program.ts'
import { roleWithPassword } from './support/scram.ts'

const soon = { timeout: 60_000, interval: 50 }
const password = 'correct-horse'

interface Running extends Program {
  url: string
}

async function start(program: string, env: Record<string, string>): Promise<Running> {
  const [port] = await lastingPorts(1)
  const address = `127.0.0.1:${port}`
  const running = startProgram(`${program}/main.ts`, {
    ENVIRONMENT: 'production',
    LOG_LEVEL: 'warn',
    HTTP_SERVER_ADDRESS: address,
    TASK_TYPE_NAME: `test-${randomUUID()}`,
    WEBHOOK_SECRET: `whsec_${Buffer.alloc(24).toString('base64')}`,
    SHUTDOWN_DELAY: '0',
    ML_PLATFORM: 'v2',
    ...env,
  })
  onTestFinished(async () => {
    expect(running.stdout() + running.stderr()).not.toContain(password)
  })
  return { ...running, url: `http://${address}` }
}

async function status(url: string): Promise<number> {
  return fetch(url).then(
    (answer) => answer.status,
    () => 0,
  )
}

const programs = ['api', 'worker', 'records']

describeWithCluster('on PostgreSQL', () => {
  test('wrong credentials, an absent database and a newer schema end each process with one line', async () => {
    const cluster = await startCluster()
    onTestFinished(() => cluster.stop())
    const right = await roleWithPassword(cluster, await cluster.newDatabase(), password)
    const wrong = new URL(right)
    wrong.password = `not-${password}`
    const absent = new URL(right)
    absent.pathname = '/absent'
    const newer = await cluster.newDatabase()
    const db = new pg.Client({ connectionString: newer })
    await db.connect()
    await db.query('create table schema_version (version bigint, oldest bigint)')
    await db.query('insert into schema_version values (999, 998)')
    await db.end()
    const cases = [
      [wrong.href, 'password authentication failed for user "locked"'],
      [absent.href, 'database "absent" does not exist'],
      [
        newer,
        'its schema 999 was written by a newer Perdure; it can be used from schema 998 on, this version knows',
      ],
    ] as const
    for (const [DATABASE_URL, words] of cases) {
      const started = await Promise.all(programs.map((program) => start(program, { DATABASE_URL })))
      for (const [n, { exited, lines }] of started.entries()) {
        expect(await exited, lines().join('\n')).toBe(1)
        expect(lines()).toEqual([
          expect.stringContaining(`${programs[n]}: The record store's database cannot be used: ${words}`),
        ])
      }
    }
  }, 180_000)

  test('a server that is away at the start is waited for: /live 200, /ready 503, and all goes on when it is there', async () => {
    const cluster = await startCluster()
    onTestFinished(() => cluster.stop())
    const DATABASE_URL = await cluster.newDatabase()
    await cluster.kill()
    const env = { DATABASE_URL, TASK_TYPE_NAME: `test-${randomUUID()}` }
    const [api, worker, records] = await Promise.all(programs.map((program) => start(program, env)))
    for (const { url } of [api!, records!]) {
      await vi.waitFor(async () => expect(await status(`${url}/live`)).toBe(200), soon)
      expect(await status(`${url}/ready`)).toBe(503)
    }
    const refused = await fetch(`${api!.url}/async/v1/predict`, {
      method: 'POST',
      body: '{"model_name":"m","inputs":{}}',
    })
    expect(refused.status).toBe(503)
    for (const { lines } of [api!, worker!, records!]) {
      await vi.waitFor(() => {
        expect(lines().join('\n')).toMatch(/the record store cannot be reached yet: connect ECONNREFUSED/)
      }, soon)
    }
    await cluster.start()
    for (const { url } of [api!, records!])
      await vi.waitFor(async () => expect(await status(`${url}/ready`)).toBe(200), soon)
    for (const each of [api!, worker!, records!]) expect(await each.stop(), each.lines().join('\n')).toBe(0)
  }, 120_000)

  test('a server that turns out to refuse us when it comes ends the processes that waited', async () => {
    const cluster = await startCluster()
    onTestFinished(() => cluster.stop())
    const url = await roleWithPassword(cluster, await cluster.newDatabase(), password)
    url.password = 'wrong'
    await cluster.kill()
    const started = await Promise.all(
      programs.map((program) => start(program, { DATABASE_URL: url.href, LOG_LEVEL: 'silent' })),
    )
    for (const { url: at } of [started[0]!, started[2]!])
      await vi.waitFor(async () => expect(await status(`${at}/live`)).toBe(200), soon)
    await cluster.start()
    for (const [n, { exited, lines }] of started.entries()) {
      expect(await exited).toBe(1)
      expect(lines()).toEqual([
        `${programs[n]}: The record store's database cannot be used: password authentication failed for user "locked"`,
      ])
    }
  }, 120_000)

  test('without Temporal the API answers 503 and the worker waits, each with one line, and both stop when told', async () => {
    const [port] = await lastingPorts(1)
    const env = { DATABASE_URL: await sharedCluster().newDatabase(), TEMPORAL_ADDRESS: `127.0.0.1:${port}` }
    const [api, worker] = await Promise.all([start('api', env), start('worker', env)])
    await vi.waitFor(async () => expect(await status(`${api.url}/live`)).toBe(200), soon)
    expect(await status(`${api.url}/ready`)).toBe(503)
    await vi.waitFor(
      () => expect(api.lines().join()).toContain('the workflow service cannot be reached'),
      soon,
    )
    await vi.waitFor(() => {
      expect(worker.lines().join()).toContain(
        'Temporal (TEMPORAL_ADDRESS) cannot be reached yet: Connection refused',
      )
    }, soon)
    expect(await worker.stop()).toBe(0)
    expect(await api.stop()).toBe(0)
    for (const { lines } of [api, worker]) expect(lines()).toHaveLength(1)
  })
})

test('a namespace that Temporal lacks: the worker ends with one line, the API stays 503 and says why', async () => {
  const env = { TEMPORAL_NAMESPACE: 'nowhere' }
  const [api, worker] = await Promise.all([start('api', env), start('worker', env)])
  expect(await worker.exited).toBe(1)
  expect(worker.lines()).toEqual(['worker: Temporal has no namespace "nowhere" (TEMPORAL_NAMESPACE)'])
  await vi.waitFor(() => expect(api.lines().join()).toContain("Namespace not found: 'nowhere'"), soon)
  expect(await status(`${api.url}/ready`)).toBe(503)
  expect(await api.stop()).toBe(0)
  expect(api.lines()).toHaveLength(1)
})

test('a Temporal that refuses our credentials: the worker ends with one line, the API stays 503 and says why', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  server.on('stream', (stream) => {
    const refusal = { 'grpc-status': '16', 'grpc-message': 'Request unauthorized.' }
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...refusal }, { endStream: true })
  })
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const bound = server.address()
  const port = typeof bound === 'object' ? bound?.port : 0
  const env = { TEMPORAL_ADDRESS: `127.0.0.1:${port}` }
  const [api, worker] = await Promise.all([start('api', env), start('worker', env)])
  expect(await worker.exited, worker.lines().join('\n')).toBe(1)
  expect(worker.lines()).toEqual([
    'worker: Temporal does not accept our credentials (TEMPORAL_API_KEY, TEMPORAL_TLS_*): Request unauthorized.',
  ])
  await vi.waitFor(() => expect(api.lines().join()).toContain('Request unauthorized.'), soon)
  expect(await status(`${api.url}/ready`)).toBe(503)
  expect(await api.stop()).toBe(0)
})

test('a worker that is told to stop while it starts stops', async () => {
  const models = join(temporaryFolder('models'), 'models.yaml')
  // Nobody reads a pipe on before it is written to.
  execFileSync('mkfifo', [models])
  const worker = await start('worker', { PERDURE_MODELS: models })
  const opened = open(models, 'w')
  const pipe = await Promise.race([opened, worker.exited.then(() => undefined)])
  expect(pipe, worker.lines().join('\n')).toBeDefined()
  const stopped = worker.stop()
  await pipe!.writeFile('models: {}')
  await pipe!.close()
  expect(await stopped, worker.lines().join('\n')).toBe(0)
}, 60_000)
