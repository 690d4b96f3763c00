/** What every suite that kills ends with: whatever is left behind fails it and is named. */
import { expect, test, vi } from 'vitest'
import { flightIdOf } from '../contracts/names.ts'
import { type Deployment, echo, makeDeployment } from './support/deployment.ts'
import { hang } from './support/scripted-server.ts'

const soon = { timeout: 60_000, interval: 50 }

/** Until this, and nothing else, is what is left. */
async function untilLeft(deployment: Deployment, expected: (string | RegExp)[], endedByHand: string[] = []) {
  await vi.waitFor(async () => {
    const left = await deployment.looseEnds(endedByHand)
    expect(left.toSorted()).toEqual(
      expected.map((one) => (typeof one === 'string' ? one : expect.stringMatching(one))),
    )
  }, soon)
}

test('a flight that somebody terminates, its open record, an API that is gone and what is due are named', async () => {
  const deployment = await makeDeployment({ platform: hang })
  const worker = await deployment.startWorker()
  const api = await deployment.startApi()
  const { id } = await deployment.submit(1)
  const flight = flightIdOf(id)
  await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(1), soon)
  const running = [/^a holder is left: /, `a prediction is open: ${id} running`]
  await untilLeft(deployment, [`a flight is open: ${flight}`, ...running])
  await expect(deployment.expectSettled([id], { timeout: 2_000 })).rejects.toThrow(
    `a flight is open: ${flight}`,
  )

  const client = await deployment.client()
  await client.workflow.getHandle(flight).terminate('by an operator')
  await untilLeft(deployment, [`a flight is closed as TERMINATED: ${flight}`, ...running])
  await untilLeft(deployment, running, [flight])

  await worker.kill()
  await api.kill()
  await untilLeft(deployment, ['0 APIs run, 1 are open', ...running], [flight])

  deployment.platform.script(echo)
  await deployment.startWorker()
  await deployment.startApi()
  expect(await deployment.launch('cli/main.ts', 'recover').exited).toBe(0)
  await deployment.expectSettled([id], { endedByHand: [flight] })
}, 120_000)
