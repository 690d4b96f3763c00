/** Several processes send from one outbox: what the external service is told stays in order. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { makeMirror } from '../records/mirror.ts'
import { makeOutboxSender } from '../records/outbox-sender.ts'
import type { Store } from '../records/store.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'
import { admitted, describeStores, probeAt, servingStore, storeAt, taken } from './support/stores.ts'

function sending(store: Store, address: string) {
  const mirror = makeMirror({ address, apiKey: { reveal: () => 'key' } })
  onTestFinished(() => mirror.close())
  return makeOutboxSender({ store, mirror, startDelivery: async () => undefined, warn: () => undefined })
}

describeStores('two senders', (kind) => {
  // PR-20
  test('never tell of a later change while one of them may still tell of an earlier one', async () => {
    const place = await kind.place()
    const first = await servingStore(place, 'worker-1', { mirror: true })
    const second = await storeAt(place, { mirror: true })
    const landed: string[] = []
    const held = Promise.withResolvers<void>()
    const service = await startScriptedServer(async (call, response, request) => {
      const { status } = JSON.parse(call.body) as { status: string }
      // The first process's update lies unanswered.
      if (status === 'running' && landed.length === 1) await held.promise
      landed.push(status)
      json({})(call, response, request)
    })
    onTestFinished(() => service.close())
    const [one, other] = [sending(first, service.address), sending(second, service.address)]

    const [id] = await admitted(first, 1, { processId: 'worker-1' })
    expect(await one.drain(id!)).toBeUndefined()
    const token = await taken(first, id!, 'worker-1')
    const draining = one.drain(id!)
    await vi.waitFor(() => expect(service.calls).toHaveLength(2), 30_000)
    await second.transition(id!, 'succeeded', { outputs: '1' }, token)
    expect(await other.drain(id!)).toEqual({ waitMs: expect.any(Number), unknown: false, refused: false })
    held.resolve()
    expect(await draining).toBeUndefined()
    expect(await other.drain(id!)).toBeUndefined()
    expect(landed).toEqual(['pending', 'running', 'succeeded'])
  })
})

describeStores('a row of the outbox', (kind) => {
  async function owed() {
    const place = await kind.place()
    const store = await servingStore(place, 'api-1', { mirror: true })
    const [row] = await store.outboxNext(await admitted(store))
    return { store, seq: row!.seq, probe: probeAt(place) }
  }

  // PR-20
  test('has one sender until its lease ends or is given back', async () => {
    const { store, seq } = await owed()
    expect(await store.outboxLease(seq, 'a', 60_000)).toEqual({ outcome: 'leased' })
    expect(await store.outboxLease(seq, 'a', 60_000)).toEqual({ outcome: 'leased' })
    const refused = await store.outboxLease(seq, 'b', 60_000)
    expect(refused).toEqual({ outcome: 'held', leftMs: expect.any(Number) })
    await store.outboxLease(seq, 'a', 0)
    expect(await store.outboxLease(seq, 'b', 1)).toEqual({ outcome: 'leased' })
    await vi.waitFor(async () =>
      expect(await store.outboxLease(seq, 'a', 60_000)).toEqual({ outcome: 'leased' }),
    )
    await store.outboxDone(seq)
    expect(await store.outboxLease(seq, 'b', 60_000)).toEqual({ outcome: 'gone' })
  })

  // PR-18
  test('is free when the clock was set back to before its lease began', async () => {
    const { store, seq, probe } = await owed()
    await store.outboxLease(seq, 'a', 60_000)
    await probe.query(
      'update outbox set leased_at = leased_at + 3600000, leased_until = leased_until + 3600000',
    )
    expect(await store.outboxLease(seq, 'b', 60_000)).toEqual({ outcome: 'leased' })
  })
})
