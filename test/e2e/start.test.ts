/**
 * `npm start` as a newcomer meets it: addresses on stdout, a curl line that answers, the prediction in Temporal, data
 * that is found again, and one clear line with exit code 1 when something is in the way.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../support/folders.ts'
import { ports, processesUsing, type Started, start, untilReady } from '../support/npm-start.ts'

test('npm start prints where everything listens, and its curl line gets a real model’s answer from a flight', async () => {
  const folder = temporaryFolder('start')
  const settings = await ports()
  const first = start(folder, settings)
  const lines = await untilReady(first)
  const api = `http://${settings.HTTP_SERVER_ADDRESS}`
  expect(lines).toEqual([
    `API  ${api}`,
    `Docs  ${api}/docs`,
    `Temporal UI  http://127.0.0.1:${settings.PERDURE_TEMPORAL_UI_PORT}`,
    `Model  http://127.0.0.1:${settings.PERDURE_MODEL_PORT}`,
    `curl -sS ${api}/v1/predict -H 'Prefer: wait' -H 'Content-Type: application/json' -d '{"model_name":"iris","inputs":{"inputs":[[5.1,3.5,1.4,0.2]]}}'`,
  ])
  const answer = JSON.parse(execFileSync('sh', ['-c', lines.at(-1)!], { encoding: 'utf8' }))
  expect(answer).toMatchObject({ status: 'succeeded', queue_id: `flight-${answer.id.slice(0, 18)}` })
  expect(answer.outputs.outputs[0].label).toBe('setosa')

  const connection = await Connection.connect({ address: `127.0.0.1:${settings.PERDURE_TEMPORAL_PORT}` })
  const handle = new Client({ connection }).workflow.getHandle(answer.queue_id)
  // It ends a moment after its record.
  await handle.result()
  const flight = await handle.describe()
  await connection.close()
  expect(flight.status.name).toBe('COMPLETED')
  expect(flight.searchAttributes).toMatchObject({ ModelName: ['iris'], Platform: ['v2'], FlightSize: [1] })

  first.interrupt()
  expect(await first.exit).toBe(0)
  expect(processesUsing(folder)).toEqual([])

  const second = start(folder, settings)
  await untilReady(second)
  const found = await fetch(`${api}/task/${answer.id}`)
  expect(await found.json()).toEqual(answer)
  second.interrupt()
  expect(await second.exit).toBe(0)
  expect(processesUsing(folder)).toEqual([])
}, 180_000)

test.each([
  ['the API', 'HTTP_SERVER_ADDRESS'],
  ['the model server', 'PERDURE_MODEL_PORT'],
  ['Temporal', 'PERDURE_TEMPORAL_PORT'],
])(
  'a taken port of %s is one clear line and exit code 1, and nothing stays behind',
  async (_name, key) => {
    const folder = temporaryFolder('start')
    const settings = await ports()
    const taken = settings[key]!.split(':').at(-1)!
    const server = createServer().listen(Number(taken), '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const started = start(folder, settings)
    expect(await started.exit).toBe(1)
    expect(started.stdout()).toBe('')
    expect(faults(started)).toHaveLength(1)
    expect(faults(started)[0]).toContain(taken)
    expect(processesUsing(folder)).toEqual([])
  },
  120_000,
)

test('wrong settings are one line each, all at once, and exit code 1', async () => {
  const folder = temporaryFolder('start')
  const started = start(folder, { ...(await ports()), MAX_QUEUE_SIZE: 'many', ML_PLATFORM: 'sagemaker' })
  expect(await started.exit).toBe(1)
  expect(faults(started)).toHaveLength(2)
  expect(started.stderr()).toMatch(/MAX_QUEUE_SIZE/)
  expect(started.stderr()).toMatch(/ML_PLATFORM/)
})

test('a data folder that cannot be made is one clear line and exit code 1', async () => {
  const folder = temporaryFolder('start')
  // Root may write everywhere, but nobody can make a folder inside a file.
  writeFileSync(join(folder, 'file'), '')
  const started = start(folder, { ...(await ports()), PERDURE_DATA_DIR: join(folder, 'file', 'data') })
  expect(await started.exit).toBe(1)
  expect(faults(started)).toHaveLength(1)
  expect(started.stderr()).toContain('PERDURE_DATA_DIR')
})

test('a database that cannot be reached is one clear line without its password and exit code 1', async () => {
  const folder = temporaryFolder('start')
  const settings = { ...(await ports()), DATABASE_URL: 'postgres://perdure:hush@127.0.0.1:1/x' }
  const started = start(folder, settings)
  expect(await started.exit).toBe(1)
  expect(faults(started)).toEqual([
    "perdure: The record store's database cannot be used: connect ECONNREFUSED 127.0.0.1:1",
  ])
  expect(processesUsing(folder)).toEqual([])
}, 120_000)

/** What is said on stderr beside log lines of the steps before. */
function faults(started: Started): string[] {
  const log = /^\{|^stopping/
  return started
    .stderr()
    .trimEnd()
    .split('\n')
    .filter((line) => !log.test(line))
}
