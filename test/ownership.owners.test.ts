/** Whatever an operator terminates is found by the ownership check, has a workflow again, and ends. On a real Temporal. */
import { expect, inject, onTestFinished, test, vi } from 'vitest'
import { deliveryIdOf, flightIdOf, guardIdOf, keeperIdOf, prefixOf } from '../contracts/names.ts'
import { checkOccasions, type OwnedKind, ownedKinds } from '../contracts/ownership.ts'
import type { Store } from '../records/store.ts'
import { requestCheck } from '../runtime/temporal/check-request.ts'
import { openTemporalApi } from '../runtime/temporal/client.ts'
import { type InProcess, recordHistory, startInProcess } from './support/in-process.ts'
import { expectOwned, terminate, youngestMs } from './support/ownership.ts'
import { json, send } from './support/scripted-server.ts'
import { flightIds, newPrediction, storeProcess } from './support/stores.ts'
import { candidateRequest, patience, startValidations } from './support/validations.ts'
import { webhookStage } from './support/webhook-stage.ts'

/** Until a check of this age looks at it. */
async function untilOldEnough(store: Store, kind: OwnedKind, id: string, queue: string): Promise<void> {
  await vi.waitFor(async () => {
    const open = await store.leftOpen({ kind, queue, minAgeMs: youngestMs })
    expect(open.map((one) => one.id)).toContain(id)
  }, patience)
}

/** What `/metrics` counts, all kinds and occasions. */
async function counted({ app }: InProcess): Promise<Record<string, number>> {
  const text = await (await app.request('/metrics')).text()
  const lines = text.matchAll(/^records_ownerless_total\{kind="(\w+)",found="(\w+)"\} (\d+)$/gm)
  const counts = [...lines].map(([, kind, found, count]) => [`${kind} ${found}`, Number(count)] as const)
  expect(counts).toHaveLength(ownedKinds.length * checkOccasions.length)
  return Object.fromEntries(counts.filter(([, count]) => count > 0))
}

// PR-07
test('a flight that was terminated', async () => {
  const world = await startInProcess()
  const { app, lifecycle, store, client, taskQueue, queue, request } = world
  await store.pause(queue)
  const { id } = await lifecycle.service.submit(request(7))
  await vi.waitFor(async () => {
    expect((await client.workflow.getHandle(flightIdOf(id)).describe()).status.name).toBe('RUNNING')
  }, patience)
  await terminate(client, flightIdOf(id))
  await untilOldEnough(store, 'flight', prefixOf(id), queue)

  const report = await requestCheck(client, taskQueue, youngestMs)
  expect(report.checked).toEqual({ flights: 1, guards: 1, deliveries: 0, validations: 0 })
  expect(report.ownerless).toEqual([
    { kind: 'flight', id: flightIdOf(id), closed: 'TERMINATED', ageMs: expect.any(Number) },
  ])
  expect(report.ownerless[0]!.ageMs).toBeGreaterThanOrEqual(youngestMs)
  expect(await counted(world)).toEqual({ 'flight command': 1 })
  await expectOwned(client, taskQueue, { lost: [flightIdOf(id)] })

  await app.request('/unpause', { method: 'POST' })
  expect(await lifecycle.service.waitFor(id, 60_000)).toMatchObject({ status: 'succeeded', attempts: 1 })
})

// PR-07
test('a guard that was terminated, and then its process died: what it called itself ends', async () => {
  const world = await startInProcess()
  const { store, client, taskQueue, queue, dataDir } = world
  const dying = await storeProcess({ kind: 'sqlite', dataDir })
  await dying.store.registerProcess('api-dying', 'api')
  const address = inject('temporalAddress')
  const temporal = openTemporalApi({ connection: { address }, namespace: 'default', taskQueue })
  onTestFinished(() => temporal.close())
  await temporal.startGuard('api-dying')
  await vi.waitFor(async () => expect(await store.observeProcess('api-dying')).toBe('open'), patience)
  const [id] = flightIds(1)
  await dying.store.begin({ ...newPrediction(id!), queue, platform: 'v2' }, 'api-dying')
  await terminate(client, guardIdOf('api-dying'))
  await dying.kill()
  await untilOldEnough(store, 'guard', 'api-dying', queue)

  const { ownerless } = await requestCheck(client, taskQueue, youngestMs)
  expect(ownerless).toMatchObject([{ kind: 'guard', id: guardIdOf('api-dying'), closed: 'TERMINATED' }])
  expect(await counted(world)).toEqual({ 'guard command': 1 })
  await vi.waitFor(async () => {
    expect(await store.get(id!)).toMatchObject({ status: 'failed', errorCode: 'interrupted' })
  }, patience)
})

// PR-07
test('the delivery of a webhook that was terminated between two tries', async () => {
  const world = await webhookStage({ deliveryDelaysMs: [0, 3_600_000] })
  const { receiver, client, store, taskQueue, queue } = world
  receiver.script(send('', 500), json({}))
  const id = await world.create({ webhook_events_filter: ['completed'] })
  const only = async () => (await world.deliveries(id))[0]
  await vi.waitFor(
    async () => expect(await only()).toMatchObject({ attempts: 1, status: 'waiting' }),
    patience,
  )
  const workflowId = deliveryIdOf((await only())!.id)
  await terminate(client, workflowId)
  await untilOldEnough(store, 'delivery', (await only())!.id, queue)

  const { ownerless } = await requestCheck(client, taskQueue, youngestMs)
  expect(ownerless).toMatchObject([{ kind: 'delivery', id: workflowId, closed: 'TERMINATED' }])
  expect(await counted(world)).toEqual({ 'delivery command': 1 })
  await vi.waitFor(async () => expect(await only()).toMatchObject({ status: 'succeeded' }), patience)
  expect(receiver.calls).toHaveLength(2)
})

// PR-07
test('a validation that was terminated together with its keeper: its job is stopped and its record ended', async () => {
  const { client, store, taskQueue, ...world } = await startValidations()
  const id = await world.submit(candidateRequest({ LOAD_MS: '60000' }))
  await world.reaches(id, 'loading')
  await vi.waitFor(async () => expect(await world.jobs()).toMatchObject([{ alive: true }]), patience)
  const { runId } = await client.workflow.getHandle(id).describe()
  await terminate(client, keeperIdOf(id, runId))
  await terminate(client, id)
  await untilOldEnough(store, 'validation', id, 'none')

  const { checked, ownerless } = await requestCheck(client, taskQueue, youngestMs)
  expect(checked).toMatchObject({ validations: 1 })
  expect(ownerless).toMatchObject([{ kind: 'validation', id, closed: 'TERMINATED' }])
  expect(await world.ended(id)).toMatchObject({ verdict: 'ABORTED' })
  expect(await world.jobs()).not.toMatchObject([{ alive: true }])
  await recordHistory(client, keeperIdOf(id, runId), 'keeper-closed')
  await expectOwned(client, taskQueue, { lost: [id] })
})

test('where nothing is lost, the check at a worker’s start and one at any time find nothing', async () => {
  const world = await startInProcess()
  const { lifecycle, client, store, taskQueue, queue, processId, request } = world
  await store.pause(queue)
  const { id } = await lifecycle.service.submit(request(1))
  await untilOldEnough(store, 'flight', prefixOf(id), queue)
  await untilOldEnough(store, 'guard', processId, queue)
  const report = await requestCheck(client, taskQueue, youngestMs)
  expect(report).toEqual({
    checked: { flights: 1, guards: 1, deliveries: 0, validations: 0 },
    ownerless: [],
  })
  const atStart = client.workflow.getHandle(`ownership-${taskQueue}`)
  expect(await atStart.result()).toMatchObject({ ownerless: [] })
  await recordHistory(client, `ownership-${taskQueue}`, 'ownership-check')
  await expectOwned(client, taskQueue)
  expect(await counted(world)).toEqual({})
  const text = await (await world.app.request('/metrics')).text()
  expect(text).toMatch(/^ownership_checks_total [3-9]$/m)
})
