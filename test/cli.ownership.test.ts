/** `perdure ownership` as a process of its own, beside a worker that looks for it: what it prints, and its exit codes. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, inject, test, vi } from 'vitest'
import { flightIdOf, prefixOf } from '../contracts/names.ts'
import { freePorts } from '../dev/free-ports.ts'
import { temporaryFolder } from './support/folders.ts'
import { startInProcess } from './support/in-process.ts'
import { terminate, youngestMs } from './support/ownership.ts'

const command = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const patience = { timeout: 30_000, interval: 50 }

interface Ran {
  code: number
  stdout: string
  stderr: string
}

function ownership(settings: Record<string, string>, ...args: string[]): Promise<Ran> {
  const env = { ...process.env, TEMPORAL_ADDRESS: inject('temporalAddress'), ...settings }
  const cwd = temporaryFolder('ownership')
  return new Promise((resolve) => {
    execFile(process.execPath, [command, 'ownership', ...args], { env, cwd }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}

test('it tells what was looked at, and what had no workflow: exit codes 0 and 1', async () => {
  const { client, lifecycle, request, store, queue, taskQueue } = await startInProcess()
  const settings = { TEMPORAL_TASK_QUEUE: taskQueue }
  await store.pause(queue)
  const { id } = await lifecycle.service.submit(request(1))
  await vi.waitFor(async () => {
    expect((await client.workflow.getHandle(flightIdOf(id)).describe()).status.name).toBe('RUNNING')
  }, patience)
  await vi.waitFor(async () => {
    const open = await store.leftOpen({ kind: 'flight', queue, minAgeMs: youngestMs })
    expect(open.map((one) => one.id)).toEqual([prefixOf(id)])
  }, patience)
  expect(await ownership(settings, '--min-age', '1s')).toEqual({
    code: 0,
    stdout: 'looked at: flights 1, guards 1, webhook deliveries 0, validations 0\neach has a live workflow\n',
    stderr: '',
  })
  // Two minutes, unless told otherwise.
  expect(await ownership(settings)).toMatchObject({ code: 0, stdout: expect.stringContaining('flights 0,') })

  await terminate(client, flightIdOf(id))
  const found = await ownership(settings, '--json', '--min-age', '1s')
  expect(found).toMatchObject({ code: 1, stderr: '' })
  expect(JSON.parse(found.stdout)).toEqual({
    checked: { flights: 1, guards: 1, deliveries: 0, validations: 0 },
    ownerless: [{ kind: 'flight', id: flightIdOf(id), closed: 'TERMINATED', ageMs: expect.any(Number) }],
  })
  await terminate(client, flightIdOf(id))
  const again = await ownership(settings, '--min-age', '1s')
  expect(again.code).toBe(1)
  expect(again.stdout).toContain('without a live workflow: 1\n')
  expect(again.stdout).toMatch(
    new RegExp(`^${flightIdOf(id)}: open for \\d+ s; its last run is TERMINATED$`, 'm'),
  )
})

test('an age below a second is a wrong use: exit code 2', async () => {
  expect(await ownership({}, '--min-age', '0s')).toMatchObject({ code: 2, stdout: '' })
})

test('without Temporal, and without a worker that takes it, it could not look: one line, exit code 3', async () => {
  const [port] = await freePorts(1)
  const { taskQueue } = await startInProcess({ worker: false })
  const [unreachable, untaken] = await Promise.all([
    ownership({ TEMPORAL_ADDRESS: `127.0.0.1:${port}` }),
    ownership({ TEMPORAL_TASK_QUEUE: taskQueue }),
  ])
  expect(unreachable).toEqual({ code: 3, stdout: '', stderr: 'Temporal cannot be reached\n' })
  expect(untaken).toEqual({ code: 3, stdout: '', stderr: 'no worker takes the check\n' })
}, 90_000)
