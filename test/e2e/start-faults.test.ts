/** `npm start` when something of it is killed: Temporal, npm itself, or all of it by Ctrl-C under load. Real processes. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { temporaryFolder } from '../support/folders.ts'
import { ports, processesUsing, type Started, start, untilReady } from '../support/npm-start.ts'

const patience = { timeout: 90_000, interval: 50 }
const irisInput = JSON.stringify({ model_name: 'iris', inputs: { inputs: [[5.1, 3.5, 1.4, 0.2]] } })

async function submitted(api: string): Promise<string> {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${api}/async/v1/predict`, { method: 'POST', headers, body: irisInput })
  expect(answer.status, await answer.clone().text()).toBe(200)
  return ((await answer.json()) as { id: string }).id
}

async function untilSucceeded(api: string, id: string): Promise<void> {
  await vi.waitFor(async () => {
    const record = (await (await fetch(`${api}/task/${id}`)).json()) as { status: string }
    expect(record.status).toBe('succeeded')
  }, patience)
}

/** The server that runs now; undefined while there is none. */
function temporalPid(folder: string): number | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'data', 'temporal.db.pid'), 'utf8')).child.pid
  } catch {
    return undefined
  }
}

function restartsIn(started: Started): string[] {
  return started
    .stderr()
    .split('\n')
    .filter((line) => line.includes('started again'))
}

test('a Temporal that is killed is started again with one line in the log, and what was accepted meanwhile ends', async () => {
  const folder = temporaryFolder('start')
  const settings = await ports()
  const api = `http://${settings.HTTP_SERVER_ADDRESS}`
  const started = start(folder, settings)
  await untilReady(started)
  const before = await submitted(api)
  await untilSucceeded(api, before)

  const killed = temporalPid(folder)!
  process.kill(killed, 'SIGKILL')
  const meanwhile = await submitted(api)
  await untilSucceeded(api, meanwhile)
  expect(temporalPid(folder)).not.toBe(killed)
  await untilSucceeded(api, await submitted(api))
  expect(restartsIn(started)).toEqual([expect.stringContaining('the Temporal server ended with SIGKILL')])

  started.interrupt()
  expect(await started.exit, started.stderr()).toBe(0)
  expect(processesUsing(folder)).toEqual([])
}, 240_000)

test('a Temporal that ends again and again ends everything, with exit code 1 and the reason', async () => {
  const folder = temporaryFolder('start')
  const started = start(folder, await ports())
  await untilReady(started)
  let killed: number | undefined
  const killer = setInterval(() => {
    const pid = temporalPid(folder)
    if (pid === undefined || pid === killed) return
    killed = pid
    process.kill(pid, 'SIGKILL')
  }, 20)
  try {
    expect(await started.exit, started.stderr()).toBe(1)
  } finally {
    clearInterval(killer)
  }
  expect(restartsIn(started).filter((line) => line.includes('on the same data'))).toHaveLength(5)
  expect(started.stderr().trimEnd().split('\n').at(-1)).toMatch(
    /^perdure: the Temporal server ended with SIGKILL.*started again 5 times within a minute/,
  )
  expect(processesUsing(folder)).toEqual([])
}, 240_000)

test('SIGTERM to npm alone ends everything in order', async () => {
  const folder = temporaryFolder('start')
  const settings = await ports()
  const started = start(folder, settings, 'npm')
  await untilReady(started)
  started.kill('SIGTERM')
  expect(await started.exit, started.stderr()).toBe(0)
  expect(started.stderr()).toContain('stopping …')
  expect(processesUsing(folder)).toEqual([])
}, 240_000)

test('an npm that is killed leaves nothing behind', async () => {
  const folder = temporaryFolder('start')
  const started = start(folder, await ports(), 'npm')
  await untilReady(started)
  started.kill('SIGKILL')
  await started.exit
  await vi.waitFor(() => expect(processesUsing(folder)).toEqual([]), patience)
  expect(started.stderr()).toContain('stopping …')
}, 240_000)

test('one Ctrl-C in a terminal reaches the process twice, and it stops in order', async () => {
  const folder = temporaryFolder('start')
  const started = start(folder, await ports())
  await untilReady(started)
  started.interrupt()
  started.interrupt()
  expect(await started.exit, started.stderr()).toBe(0)
  expect(processesUsing(folder)).toEqual([])
}, 240_000)
