/**
 * A power cut, as `npm start` may meet it: the records are kept, and the last commits of the embedded Temporal are lost.
 * Staged by everything being killed and an older state of Temporal's database put back: what was accepted after it ends.
 */
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import { expect, onTestFinished, test, vi } from 'vitest'
import { flightIdOf } from '../../contracts/names.ts'
import { stopOrphan } from '../../dev/orphan.ts'
import { temporaryFolder } from '../support/folders.ts'
import { ports, start, untilReady } from '../support/npm-start.ts'
import { expectOwned } from '../support/ownership.ts'
import { probeSqlite } from '../support/store-probe.ts'

const patience = { timeout: 60_000, interval: 100 }

// PR-06
test('what was accepted after the last state that Temporal has kept ends after the next start', async () => {
  const folder = temporaryFolder('power-cut')
  const data = join(folder, 'data')
  const database = join(data, 'temporal.db')
  const older = join(folder, 'older.db')
  const settings = await ports()
  const api = `http://${settings.HTTP_SERVER_ADDRESS}`
  const records = probeSqlite(data)

  const first = start(folder, settings)
  await untilReady(first)
  await fetch(`${api}/pause`, { method: 'POST' })
  first.interrupt()
  expect(await first.exit).toBe(0)
  copyFileSync(database, older)

  const second = start(folder, settings)
  await untilReady(second)
  const ids: string[] = []
  for (let n = 0; n < 3; n++) {
    const answer = await fetch(`${api}/async/v1/predict`, {
      method: 'POST',
      body: JSON.stringify({ model_name: 'iris', inputs: { inputs: [[5.1, 3.5, 1.4, 0.2]] } }),
    })
    expect(answer.status).toBe(200)
    ids.push(((await answer.json()) as { id: string }).id)
  }
  // Marked as started, so that nobody thinks of starting them any more.
  await vi.waitFor(async () => {
    expect(await records.query('select prefix from flights where started = 1')).toHaveLength(3)
  }, patience)
  const [guarded] = await records.query<{ id: string }>(
    `select id from processes where role = 'api' and state = 'open'`,
  )
  second.kill('SIGKILL')
  await second.exit
  await stopOrphan(`${database}.pid`)
  for (const end of ['-wal', '-shm']) rmSync(`${database}${end}`, { force: true })
  copyFileSync(older, database)

  const third = start(folder, settings)
  await untilReady(third)
  const lost = [...ids.map(flightIdOf), `guard-${guarded!.id}`]
  const metrics = await (await fetch(`${api}/metrics`)).text()
  expect(metrics).toContain('records_ownerless_total{kind="flight",found="start"} 3\n')
  expect(metrics).toContain('records_ownerless_total{kind="guard",found="start"} 1\n')
  for (const id of lost) expect(third.stderr()).toContain(id)
  await fetch(`${api}/unpause`, { method: 'POST' })
  for (const id of ids) {
    await vi.waitFor(async () => {
      const answer = await fetch(`${api}/task/${id}`)
      expect(await answer.json()).toMatchObject({ id, status: 'succeeded' })
    }, patience)
  }
  const connection = await Connection.connect({ address: `127.0.0.1:${settings.PERDURE_TEMPORAL_PORT}` })
  onTestFinished(() => connection.close())
  await expectOwned(new Client({ connection }), 'perdure-default', { lost })
  third.interrupt()
  expect(await third.exit).toBe(0)
}, 240_000)
