/** Deliveries of user webhooks over HTTP: listed, and sent once more. */
import { describe, expect, test, vi } from 'vitest'
import { send } from './support/scripted-server.ts'
import { webhookStage as stage } from './support/webhook-stage.ts'

const deadline = { timeout: 30_000, interval: 25 }

describe('GET /v1/predictions/{id}/deliveries', () => {
  test('a delivery that waits shows its tries, its error and when it is tried next', async () => {
    const { create, receiver, app } = await stage({ deliveryDelaysMs: [0, 3_600_000] })
    receiver.script(send('', 500))
    const id = await create({ webhook_events_filter: ['completed'] })
    await vi.waitFor(async () => {
      const answer = await app.request(`/v1/predictions/${id}/deliveries`)
      expect(await answer.json()).toMatchObject({
        results: [
          {
            id: expect.stringMatching(/^msg_[0-9a-f]{30}$/),
            event: 'completed',
            url: `${receiver.origin}/hook`,
            status: 'waiting',
            attempts: 1,
            last_status: 500,
            last_error: 'the receiver answered 500',
            next_at: expect.stringMatching(/^\d{4}-/),
            ended_at: null,
          },
        ],
      })
    }, deadline)
  })

  test('a prediction without a webhook has none, an unknown one is 404', async () => {
    const { create, app } = await stage()
    const id = await create({ webhook: null })
    const answer = await app.request(`/v1/predictions/${id}/deliveries`)
    expect(await answer.json()).toEqual({ results: [] })
    expect((await app.request('/v1/predictions/none/deliveries')).status).toBe(404)
  })
})

describe('POST /v1/predictions/{id}/deliveries/{delivery}/redeliver', () => {
  test('a 410 disables the endpoint for later events too, until one is redelivered', async () => {
    const { create, receiver, app, deliveries } = await stage()
    receiver.script(send('', 410))
    const id = await create({ webhook_events_filter: ['completed'] })
    await vi.waitFor(async () => expect(await deliveries(id)).toMatchObject([{ status: 'gone' }]), deadline)
    const later = await create({ webhook_events_filter: ['completed'] })
    await vi.waitFor(
      async () => expect(await deliveries(later)).toMatchObject([{ status: 'gone' }]),
      deadline,
    )
    expect(receiver.calls).toHaveLength(1)

    receiver.script(send('', 200))
    const [first] = await deliveries(id)
    const path = `/v1/predictions/${id}/deliveries/${first!.id}/redeliver`
    expect((await app.request(path, { method: 'POST' })).status).toBe(202)
    await vi.waitFor(async () => {
      expect(await deliveries(id)).toMatchObject([{ status: 'succeeded', attempts: 2 }])
    }, deadline)
    expect(receiver.calls[1]!.headers['webhook-id']).toBe(first!.id)
    const third = await create({ webhook_events_filter: ['completed'] })
    await vi.waitFor(
      async () => expect(await deliveries(third)).toMatchObject([{ status: 'succeeded' }]),
      deadline,
    )
  })

  test('another prediction’s delivery is 404', async () => {
    const { create, app, deliveries } = await stage()
    const id = await create()
    await vi.waitFor(async () => expect((await deliveries(id)).length).toBeGreaterThan(0), deadline)
    const [one] = await deliveries(id)
    const path = `/v1/predictions/none/deliveries/${one!.id}/redeliver`
    expect((await app.request(path, { method: 'POST' })).status).toBe(404)
  })
})
