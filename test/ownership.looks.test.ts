/** How often the ownership check looks before it calls something ownerless, and what it leaves to a living owner. */
import { expect, test } from 'vitest'
import type { FlightStart } from '../contracts/flights.ts'
import { guardIdOf } from '../contracts/names.ts'
import type { LeftOpen, OwnedKind, Ownerless } from '../contracts/ownership.ts'
import type { StartAnswer } from '../runtime/temporal/client.ts'
import { checkOwnership, type OwnershipParts, recoverOwners } from '../runtime/temporal/ownership.ts'

const minAgeMs = 4

interface Stage {
  parts: OwnershipParts
  /** Takes part of every page from now on. */
  open(kind: OwnedKind, open: Partial<LeftOpen> & { id: string }): void
  close(id: string): void
  /** Status by workflow id, as Temporal knows it. */
  states: Map<string, string>
  /** What the list says beside that. */
  listed: Set<string>
  looks(): number
  /** Runs before each look but the first. */
  between(step: (look: number) => void): void
  started: string[]
  answer: StartAnswer
  told: string[]
}

function stage(): Stage {
  const rows: { kind: OwnedKind; row: LeftOpen }[] = []
  const states = new Map<string, string>()
  const listed = new Set<string>()
  const started: string[] = []
  let looks = 0
  let between = (_look: number) => {}
  const start = (id: string) => {
    started.push(id)
    states.set(id, 'RUNNING')
  }
  const result: Stage = {
    states,
    listed,
    started,
    told: [],
    answer: 'started',
    looks: () => looks,
    between(step) {
      between = step
    },
    open: (kind, row) => void rows.push({ kind, row: { ageMs: 1_000, ...row } }),
    close(id) {
      rows.splice(
        rows.findIndex(({ row }) => row.id === id),
        1,
      )
    },
    parts: {
      queue: 'critical',
      onOwnerless: ({ id, outcome }) => void result.told.push(`${id} ${outcome}`),
      store: {
        async leftOpen({ kind, after }) {
          if (kind === 'flight' && after === '' && looks++ > 0) between(looks)
          return rows.filter((one) => one.kind === kind && one.row.id > after).map(({ row }) => row)
        },
        flightStarts: async ([prefix]) =>
          rows.some(({ row }) => row.id === prefix) ? [{ prefix } as FlightStart] : [],
        markStarted: async ([prefix]) => void started.push(`marked ${prefix}`),
      },
      temporal: {
        running: async () =>
          new Set([...listed, ...[...states].flatMap(([id, now]) => (now === 'RUNNING' ? [id] : []))]),
        async stateOf(id) {
          const [status, ours] = states.get(id)?.split(' ') ?? []
          return status === undefined
            ? undefined
            : { status, firstRunId: 'first', lastRunId: 'last', ours: ours === undefined }
        },
        async startFlight({ prefix }) {
          if (result.answer === 'started') start(`flight-${prefix}`)
          return result.answer
        },
        startGuard: async (id) => start(`guard-${id}`),
        startDelivery: async ({ id }) => start(`delivery-${id}`),
        startKeeper: async (id, { first, last }) => start(`keeper-${id}-${last} of ${first}`),
      },
    },
  }
  return result
}

const found = (kind: OwnedKind, id: string, closed: string | null): Ownerless => ({
  kind,
  id,
  closed,
  ageMs: 1_000,
})

test('what has no running workflow in two looks is a finding of its kind, named as its last run closed, and has one again', async () => {
  const { parts, open, states, started, looks, told } = stage()
  open('flight', { id: 'a' })
  open('flight', { id: 'b' })
  open('guard', { id: 'api-1' })
  open('delivery', { id: 'msg_1' })
  open('validation', { id: 'validation-1' })
  states.set('flight-a', 'RUNNING')
  states.set('flight-b', 'TERMINATED')
  states.set('validation-1', 'FAILED')
  const { checked, ownerless } = await checkOwnership(parts, minAgeMs)
  expect(looks()).toBe(2)
  expect(checked).toEqual({ flights: 2, guards: 1, deliveries: 1, validations: 1 })
  expect(new Set(ownerless)).toEqual(
    new Set([
      found('flight', 'flight-b', 'TERMINATED'),
      found('guard', 'guard-api-1', null),
      found('delivery', 'delivery-msg_1', null),
      found('validation', 'validation-1', 'FAILED'),
    ]),
  )
  expect(new Set(started)).toEqual(
    new Set(['flight-b', 'guard-api-1', 'delivery-msg_1', 'keeper-validation-1-last of first']),
  )
  expect(told).toEqual(ownerless.map(({ id }) => `${id} owned`))
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([
    found('validation', 'validation-1', 'FAILED'),
  ])
})

test('where all run, one look is enough, and nobody is asked for what is in the list', async () => {
  const { parts, open, listed, looks } = stage()
  open('flight', { id: 'a' })
  listed.add('flight-a')
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([])
  expect(looks()).toBe(1)
})

test('a workflow that starts, or a record that ends, between two looks is none', async () => {
  const { parts, open, close, states, started, between } = stage()
  open('flight', { id: 'a' })
  open('flight', { id: 'b' })
  between(() => {
    close('a')
    states.set('flight-b', 'RUNNING')
  })
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([])
  expect(started).toEqual([])
})

test('a record that ends after the last look is none', async () => {
  const { parts, open, close } = stage()
  open('flight', { id: 'a' })
  const flightStarts = async () => {
    close('a')
    return []
  }
  const ending = { ...parts, store: { ...parts.store, flightStarts } }
  expect((await checkOwnership(ending, minAgeMs)).ownerless).toEqual([])
})

// PR-03
test('a flight that is still to be started is its guard’s for twenty looks', async () => {
  const { parts, open, states, started, looks } = stage()
  open('flight', { id: 'a', unstartedBy: 'api-1' })
  states.set(guardIdOf('api-1'), 'RUNNING')
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([found('flight', 'flight-a', null)])
  expect(looks()).toBe(20)
  expect(started).toEqual(['flight-a', 'marked a'])
})

test('a flight that is started within those looks is none', async () => {
  const { parts, open, states, looks, between } = stage()
  open('flight', { id: 'a', unstartedBy: 'api-1' })
  states.set(guardIdOf('api-1'), 'RUNNING')
  between((look) => {
    if (look === 19) states.set('flight-a', 'RUNNING')
  })
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([])
  expect(looks()).toBe(19)
})

test('a flight that is still to be started has two looks where its guard does not run, or Temporal has seen it closed', async () => {
  const { parts, open, states, looks } = stage()
  open('flight', { id: 'a', unstartedBy: 'api-1' })
  open('flight', { id: 'b', unstartedBy: 'api-2' })
  states.set(guardIdOf('api-1'), 'RUNNING')
  states.set('flight-a', 'TERMINATED')
  states.set(guardIdOf('api-2'), 'COMPLETED')
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([
    found('flight', 'flight-a', 'TERMINATED'),
    found('flight', 'flight-b', null),
  ])
  expect(looks()).toBe(2)
})

test('a webhook whose message waits to be sent is the owner’s of its record for twenty looks', async () => {
  const { parts, open, looks } = stage()
  open('delivery', { id: 'msg_1', unsent: true })
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([
    found('delivery', 'delivery-msg_1', null),
  ])
  expect(looks()).toBe(20)
})

test('an API that has never opened gets a guard, and is no finding', async () => {
  const { parts, open, started, told } = stage()
  open('guard', { id: 'api-1', unopened: true })
  expect(await checkOwnership(parts, minAgeMs)).toMatchObject({ checked: { guards: 1 }, ownerless: [] })
  expect(started).toEqual(['guard-api-1'])
  expect(told).toEqual([])
})

test('a validation whose keeper runs has its owner', async () => {
  const { parts, open, states } = stage()
  open('validation', { id: 'validation-1' })
  states.set('validation-1', 'TERMINATED')
  states.set('keeper-validation-1-last', 'RUNNING')
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([])
})

test('what ran on the queues of another deployment is that one’s', async () => {
  const { parts, open, states } = stage()
  open('guard', { id: 'api-1' })
  states.set('guard-api-1', 'TERMINATED elsewhere')
  expect((await checkOwnership(parts, minAgeMs)).ownerless).toEqual([])
})

test('a flight that Temporal refuses to start is told as such', async () => {
  const on = stage()
  on.open('flight', { id: 'a' })
  on.answer = 'refused'
  expect((await checkOwnership(on.parts, minAgeMs)).ownerless).toHaveLength(1)
  expect(on.told).toEqual(['flight-a refused'])
})

test('told to stop, it does not wait for its next look', async () => {
  const { parts, open, between } = stage()
  open('flight', { id: 'a' })
  const stop = new AbortController()
  const checking = checkOwnership(parts, 60_000, stop.signal)
  between(() => expect.unreachable('it looked again'))
  stop.abort()
  await expect(checking).rejects.toThrow(/abort/i)
})

test('a recovery looks once, does not believe the list, and leaves to living owners what is theirs', async () => {
  const { parts, open, states, listed, started, looks } = stage()
  open('flight', { id: 'a' })
  open('flight', { id: 'b', unstartedBy: 'api-1' })
  open('delivery', { id: 'msg_1', unsent: true })
  listed.add('flight-a')
  states.set(guardIdOf('api-1'), 'RUNNING')
  const { ownerless } = await recoverOwners(parts)
  expect(ownerless.map(({ id }) => id)).toEqual(['flight-a'])
  expect(looks()).toBe(1)
  expect(started).toEqual(['flight-a'])
})
