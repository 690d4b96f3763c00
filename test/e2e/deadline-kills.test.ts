/**
 * `Cancel-After` is kept although the worker that runs the prediction is killed. Proven: a record ends at its deadline
 * as soon as a worker lives, exactly once, and a provider's job is canceled by whoever comes after.
 */
import { expect, onTestFinished, vi } from 'vitest'
import { startReplicateTwin } from '../../dev/twins/replicate.ts'
import type { Deployment } from '../support/deployment.ts'
import { hang } from '../support/scripted-server.ts'
import { describeSetups } from '../support/setups.ts'

const soon = { timeout: 60_000, interval: 50 }

async function create({ baseUrl }: Deployment): Promise<{ id: string; deadline: string }> {
  const answer = await fetch(`${baseUrl}/v1/predictions`, {
    method: 'POST',
    headers: { 'cancel-after': '5s' },
    body: JSON.stringify({ version: 'm', input: { inputs: [1] } }),
  })
  expect(answer.status).toBe(201)
  return (await answer.json()) as { id: string; deadline: string }
}

async function untilCanceled({ baseUrl }: Deployment, id: string): Promise<{ completed_at: string }> {
  return vi.waitFor(async () => {
    const shown = await (await fetch(`${baseUrl}/v1/predictions/${id}`)).json()
    expect(shown).toMatchObject({ status: 'canceled', error: 'the deadline passed while it ran' })
    return shown as { completed_at: string }
  }, soon)
}

describeSetups('deadlines under kills', ({ makeDeployment, test }) => {
  test('a call whose worker was killed is canceled at its deadline by the next worker', async () => {
    const deployment = await makeDeployment({ platform: hang })
    const victim = await deployment.startWorker()
    await deployment.startApi()
    await deployment.noteStatuses()
    const { id, deadline } = await create(deployment)
    await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(1), soon)
    await victim.kill()
    await deployment.startWorker()
    const { completed_at: endedAt } = await untilCanceled(deployment, id)
    expect(Date.parse(endedAt)).toBeGreaterThanOrEqual(Date.parse(deadline))
    await deployment.expectSettled([id])
    await vi.waitFor(() => expect(deployment.platform.calls.every(({ aborted }) => aborted)).toBe(true), soon)
  }, 120_000)

  test('a job whose deadline passes while no worker lives is canceled, upstream too, when one is back', async () => {
    const twin = await startReplicateTwin({ apiKey: 'k', scenario: { end: 'never' } })
    onTestFinished(() => twin.close())
    const deployment = await makeDeployment({
      env: {
        ML_PLATFORM: 'replicate',
        REPLICATE_ADDRESS: twin.createUrl,
        REPLICATE_APIKEY: 'k',
        TASK_TIMEOUT: '300',
      },
    })
    const victim = await deployment.startWorker()
    await deployment.startApi()
    await deployment.noteStatuses()
    const { id, deadline } = await create(deployment)
    // Killed before its name is stored, the job could not be named to anybody.
    await vi.waitFor(async () => {
      expect(await deployment.query('select id from jobs where handle is not null')).toHaveLength(1)
    }, soon)
    await victim.kill()
    await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(Date.parse(deadline)), soon)
    await deployment.startWorker()
    await untilCanceled(deployment, id)
    // Its own deadline at the provider, a little later, may have come first.
    await vi.waitFor(() => expect(twin.callsOf('cancel')).toHaveLength(1), soon)
    expect(twin.jobs[0]?.phase).toMatch(/canceled|timed_out/)
    expect(twin.jobs).toHaveLength(1)
    await deployment.expectSettled([id])
  }, 120_000)
})
