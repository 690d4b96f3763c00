/** `perdure check-config`: the settings without their secrets, one line for each thing that must be reached, exit codes. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { expect, inject, onTestFinished, test } from 'vitest'
import { openStore } from '../records/open.ts'
import { temporaryFolder } from './support/folders.ts'
import { describeWithCluster, startCluster } from './support/postgres.ts'
import { type Program, startProgram } from './support/program.ts'
import { roleWithPassword } from './support/scram.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'

const password = 'correct-horse'
const key = 'sesame'

interface Checked {
  code: number | null
  /** Lines about what is reached: `store: ok, …`. */
  verdicts: string[]
  stdout: string
  stderr: string
}

async function check(env: Record<string, string>, args: string[] = [], cwd?: string): Promise<Checked> {
  const secrets = { SECRET_APIKEY: key, REPLICATE_APIKEY: key, PERDURE_SECRET_TOKEN: key }
  const program: Program = startProgram(
    'cli/main.ts',
    { ...secrets, ...env },
    {
      args: ['check-config', ...args],
      ...(cwd !== undefined && { cwd }),
    },
  )
  const code = await program.exited
  const [stdout, stderr] = [program.stdout(), program.stderr()]
  for (const secret of [password, key]) expect(stdout + stderr).not.toContain(secret)
  return { code, verdicts: stdout.split('\n').filter((line) => /: (ok|not ok), /.test(line)), stdout, stderr }
}

async function platform() {
  const server = await startScriptedServer(json({}, 404))
  onTestFinished(() => server.close())
  return server
}

/** Settings under which everything but what a test changes is there. */
async function good(): Promise<Record<string, string>> {
  return {
    ML_PLATFORM: 'v2',
    V2_ADDRESS: (await platform()).address,
    WEBHOOK_SECRET: `whsec_${Buffer.alloc(24).toString('base64')}`,
  }
}

test('all that is there is one line each and exit code 0; secrets and keys are hidden, nothing is made', async () => {
  const folder = temporaryFolder('check')
  const certificate = join(folder, 'ca.pem')
  writeFileSync(certificate, 'not shown')
  const { address } = await platform()
  const env = { ...(await good()), V2_ADDRESS: address, PERDURE_DATA_DIR: join(folder, 'data') }
  const api = await check(env)
  expect(api.code, api.stderr).toBe(0)
  expect(api.verdicts).toEqual([
    `Temporal: ok, ${inject('temporalAddress')}, namespace default`,
    `store: ok, SQLite in ${folder}/data, empty: the first process makes its tables`,
    `files: ok, ${folder}/data`,
    `v2 at ${address}: ok, answers`,
  ])
  expect(api.stdout).toContain('recordsApiKey = ***')
  expect(api.stdout).toContain(`platform.address = ${address}`)
  const worker = await check({ ...env, TEMPORAL_TLS_CA: certificate }, [
    '--for',
    'worker',
    '--offline',
    '--json',
  ])
  expect(worker.code).toBe(0)
  expect(JSON.parse(worker.stdout)).toMatchObject({
    temporal: { tls: { serverRootCACertificate: '***' } },
    runner: { secrets: { TOKEN: '***' } },
    reached: [],
  })
  const made = await openStore({ kind: 'sqlite', dataDir: env.PERDURE_DATA_DIR })
  await made.close()
  expect((await check(env)).verdicts[1]).toMatch(/SQLite in .*, schema \d+$/)
})

test('each thing that is away is one line with the reason, all of them at once, and exit code 3', async () => {
  const away = await check({
    ML_PLATFORM: 'replicate',
    REPLICATE_MODEL_ID: 'm',
    REPLICATE_ADDRESS: 'http://127.0.0.1:1/v1/predictions',
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    DATABASE_URL: `postgres://perdure:${password}@127.0.0.1:1/x`,
    WEBHOOK_SERVER_ADDRESS: '127.0.0.1:1',
    PERDURE_DATA_DIR: '/dev/null/data',
  })
  expect(away.code).toBe(3)
  expect(away.verdicts).toEqual([
    'Temporal: not ok, Failed to connect before the deadline',
    'store: not ok, connect ECONNREFUSED 127.0.0.1:1',
    expect.stringMatching(/^files: not ok, ENOTDIR/),
    'replicate at 127.0.0.1:1: not ok, connect ECONNREFUSED 127.0.0.1:1',
    'mirror: not ok, connect ECONNREFUSED 127.0.0.1:1',
  ])
  const namespace = await check({ ...(await good()), TEMPORAL_NAMESPACE: 'nowhere' })
  expect(namespace.code).toBe(3)
  expect(namespace.verdicts[0]).toMatch(/^Temporal: not ok, Namespace nowhere is not found/)
})

test('every address of a models file is asked once; a bad file is one line', async () => {
  const [one, other] = [await platform(), await platform()]
  const file = join(temporaryFolder('models'), 'models.json')
  const line = (address: string) => ({ platform: 'v2', address })
  const models = { a: line(one.address), b: line(one.address), c: line(other.address) }
  writeFileSync(file, JSON.stringify({ models }))
  const env = { ...(await good()), PERDURE_MODELS: file, ML_PLATFORM: '' }
  const { code, verdicts } = await check(env)
  expect(code).toBe(0)
  expect(verdicts.slice(3)).toEqual([
    `v2 at ${one.address}: ok, answers`,
    `v2 at ${other.address}: ok, answers`,
  ])
  writeFileSync(file, JSON.stringify({ models: { a: { platform: 'nothing' } } }))
  const bad = await check(env)
  expect(bad.code).toBe(3)
  expect(bad.verdicts.at(-1)).toMatch(/^models file: not ok, models file .*models\.a/)
})

test('faults of the settings are one line each and exit code 1, and nothing is asked', async () => {
  const { code, stdout, stderr } = await check({
    MAX_QUEUE_SIZE: 'many',
    DATABASE_URL: `mysql://u:${password}@h/d`,
  })
  expect(code).toBe(1)
  expect(stdout).toBe('')
  expect(
    stderr
      .trim()
      .split('\n')
      .map((line) => line.split(':')[0])
      .toSorted(),
  ).toEqual(['DATABASE_URL', 'MAX_QUEUE_SIZE'])
})

describeWithCluster('on PostgreSQL', () => {
  test('the database is named with its schema and left as it was; whatever is wrong with it is said', async () => {
    const cluster = await startCluster()
    onTestFinished(() => cluster.stop())
    const right = await roleWithPassword(cluster, await cluster.newDatabase(), password)
    const settings = await good()
    const store = async (url: URL) => {
      const { code, verdicts } = await check({ ...settings, DATABASE_URL: url.href })
      return [code, verdicts[1]]
    }
    expect(await store(right)).toEqual([
      0,
      'store: ok, PostgreSQL, empty: the first process makes its tables',
    ])
    const db = new pg.Client({ connectionString: right.href })
    await db.connect()
    onTestFinished(() => db.end())
    expect((await db.query(`select * from pg_tables where schemaname = 'public'`)).rows).toEqual([])
    const wrong = new URL(right)
    wrong.password = 'wrong'
    expect(await store(wrong)).toEqual([3, 'store: not ok, password authentication failed for user "locked"'])
    const absent = new URL(right)
    absent.pathname = '/absent'
    expect(await store(absent)).toEqual([3, 'store: not ok, database "absent" does not exist'])
    await db.query('create table schema_version (version bigint, oldest bigint)')
    await db.query('insert into schema_version values (999, 998)')
    expect(await store(right)).toEqual([
      3,
      expect.stringMatching(/^store: not ok, its schema 999 was written by a newer Perdure/),
    ])
    await db.query('update schema_version set version = 1, oldest = 1')
    expect(await store(right)).toEqual([
      0,
      expect.stringMatching(/^store: ok, PostgreSQL, schema 1: the first process brings it to \d+$/),
    ])
  }, 120_000)
})
