/** `perdure migrate` as a process of its own, on both stores. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { schema } from '../records/migrations/migrations.ts'
import { temporaryFolder } from './support/folders.ts'
import { describeWithCluster, sharedCluster } from './support/postgres.ts'

const command = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const run = promisify(execFile)

function migrate(settings: Record<string, string>) {
  const env = { ...process.env, DATABASE_URL: '', ...settings }
  return run(process.execPath, [command, 'migrate'], { env, cwd: temporaryFolder('migrate') })
}

test('an empty folder gets the schema, and once more changes nothing', async () => {
  const folder = temporaryFolder('store')
  for (const _ of [1, 2]) {
    const { stdout } = await migrate({ PERDURE_DATA_DIR: folder })
    expect(stdout).toBe(`SQLite in ${folder}, schema ${schema.migrations.length}\n`)
  }
})

test('a database that cannot be reached is one line without its password', async () => {
  const refused = migrate({ DATABASE_URL: 'postgres://perdure:hidden@127.0.0.1:9/perdure' })
  const error = await refused.then(
    () => undefined,
    (reason: { code: number; stderr: string }) => reason,
  )
  expect(error?.code).toBe(1)
  expect(error?.stderr).toMatch(/^[^\n]+\n$/)
  expect(error?.stderr).not.toContain('hidden')
}, 60_000)

describeWithCluster('on PostgreSQL', () => {
  test('several at once make one schema', async () => {
    const settings = { DATABASE_URL: await sharedCluster().newDatabase() }
    const all = await Promise.all([migrate(settings), migrate(settings), migrate(settings)])
    for (const { stdout } of all) expect(stdout).toBe(`PostgreSQL, schema ${schema.migrations.length}\n`)
  }, 60_000)
})
