/** Flights that wait for longer than one history of Temporal may grow: they go on in a next run, and lose nothing. */
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from '@temporalio/worker'
import { expect, test, vi } from 'vitest'
import { flightIdOf, wakeSignal } from '../contracts/names.ts'
import { traceSinks } from '../tracing/temporal.ts'
import { workflowBundle } from '../worker/bundle.ts'
import { bundleFolder } from './support/folders.ts'
import { startInProcess } from './support/in-process.ts'

const patienceMs = 150_000

test('a flight that waits through many rounds goes on in a next run, deadlines included', async () => {
  const { lifecycle, request, store, queue, client } = await startInProcess()
  await store.pause(queue)
  const dated = request(2, { cancelAfterMs: patienceMs * 10 })
  const answers = await Promise.all([request(1), dated].map(lifecycle.service.submit))
  const flights = [...new Set(answers.map(({ id }) => flightIdOf(id)))]
  const id = flightIdOf(answers[1]!.id)
  const flight = client.workflow.getHandle(id)
  // It is started after its acceptance is answered.
  const { runId } = await vi.waitFor(() => flight.describe(), { timeout: patienceMs })

  // Each wake-up is another look at the paused queue, as each of its timers would be.
  const endMs = performance.now() + patienceMs
  const isFirst = async () => (await flight.describe()).runId === runId
  while (await isFirst()) {
    expect(performance.now()).toBeLessThan(endMs)
    for (let n = 0; n < 20; n++) {
      await flight.signal(wakeSignal)
      await delay(5)
    }
    // The next run cannot begin while signals come in.
    await delay(100)
  }
  expect(await store.count(queue)).toMatchObject({ waiting: 2 })
  await store.unpause(queue)
  for (const workflow of flights) await client.workflow.getHandle(workflow).signal(wakeSignal)
  for (const answer of answers) {
    expect(await lifecycle.service.waitFor(answer.id, 60_000)).toMatchObject({ status: 'succeeded' })
  }
  expect(await flight.result()).toEqual({ succeeded: flights.length === 1 ? 2 : 1, failed: 0, canceled: 0 })

  const history = await client.workflow.getHandle(id, runId).fetchHistory()
  expect(history.events?.at(-1)?.workflowExecutionContinuedAsNewEventAttributes).toBeTruthy()
  expect(history.events!.length).toBeLessThan(10_000)
  const options = { workflowBundle: await workflowBundle(bundleFolder), sinks: traceSinks }
  await Worker.runReplayHistory(options, history, id)
}, 300_000)
