/** Any order of calls keeps the rules of a record's life, checked against a model small enough to read. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Store } from '../records/store.ts'
import { admissionOf, describeStores, flightIds, servingStore } from './support/stores.ts'

const processes = ['api-1', 'worker-1', 'worker-2']
const limits = { taskTimeoutMs: 600_000, maxAttempts: 4 }

type Step =
  | { do: 'take'; at: number; by: number; again: boolean }
  | { do: 'release'; at: number; stale: boolean }
  | { do: 'succeed' | 'cancel' | 'settleDoubt'; at: number }
  | { do: 'fail'; at: number; stale: boolean }
  | { do: 'pause' | 'unpause' | 'deletePending' }
  | { do: 'leave'; by: number }

interface Model {
  status: string
  token: number
  attempts: number
  holder?: string
}

const size = 4
const at = fc.nat(size - 1)
const by = fc.nat(processes.length - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: fc.record({ do: fc.constant('take' as const), at, by, again: fc.boolean() }), weight: 6 },
  { arbitrary: fc.record({ do: fc.constant('release' as const), at, stale: fc.boolean() }), weight: 3 },
  { arbitrary: fc.record({ do: fc.constant('fail' as const), at, stale: fc.boolean() }), weight: 2 },
  fc.record({ do: fc.constantFrom('succeed' as const, 'cancel' as const, 'settleDoubt' as const), at }),
  fc.record({ do: fc.constantFrom('pause' as const, 'unpause' as const, 'deletePending' as const) }),
  fc.record({ do: fc.constant('leave' as const), by }),
)

class Run {
  readonly store: Store
  readonly ids: string[]
  readonly models: Model[]
  readonly gone = new Set<string>()
  terminalWrites = 0
  paused = false

  constructor(store: Store, ids: string[]) {
    this.store = store
    this.ids = ids
    this.models = ids.map(() => ({ status: 'pending', token: 0, attempts: 0 }))
  }

  isTerminal(model: Model): boolean {
    return model.status !== 'pending' && model.status !== 'running'
  }

  end(model: Model, status: string, changed: boolean): void {
    if (!changed) return
    expect(this.isTerminal(model)).toBe(false)
    model.status = status
    delete model.holder
    this.terminalWrites++
  }

  /** What `take` must answer. */
  verdict(model: Model, process: string, again: boolean): string {
    if (this.isTerminal(model)) return 'terminal'
    const own = model.holder === process
    if (model.holder !== undefined && !this.gone.has(model.holder) && !(own && again)) return 'held'
    if (model.attempts >= limits.maxAttempts) return 'exhausted'
    return model.status === 'pending' && this.paused ? 'paused' : 'taken'
  }

  async apply(one: Step): Promise<void> {
    if ('at' in one) return this.applyTo(one, this.ids[one.at]!, this.models[one.at]!)
    if (one.do === 'leave') {
      const process = processes[one.by]!
      if (process !== 'api-1') this.gone.add(process)
      if (process !== 'api-1') await this.store.leaveProcess(process)
    } else if (one.do === 'deletePending') {
      const waiting = this.models.filter((model) => model.status === 'pending')
      expect(await this.store.deletePending('critical')).toMatchObject({
        deleted: waiting.length,
        pending: waiting.length,
      })
      for (const model of waiting) this.end(model, 'canceled', true)
    } else {
      const pausing = one.do === 'pause'
      expect(await this.store[one.do]('critical')).toBe(this.paused !== pausing)
      this.paused = pausing
    }
  }

  async applyTo(one: Extract<Step, { at: number }>, id: string, model: Model): Promise<void> {
    if (one.do === 'take') {
      const process = processes[one.by]!
      if (this.gone.has(process)) {
        await expect(this.store.take(id, process, limits)).rejects.toMatchObject({ code: 'draining' })
        return
      }
      const answer = await this.store.take(id, process, limits, one.again)
      expect(answer.outcome).toBe(this.verdict(model, process, one.again))
      if (answer.outcome === 'taken') {
        Object.assign(model, { status: 'running', holder: process, attempts: model.attempts + 1 })
      }
      if (answer.outcome === 'exhausted') delete model.holder
      if (answer.outcome === 'taken' || answer.outcome === 'exhausted') {
        expect(answer.token).toBeGreaterThan(model.token)
        model.token = answer.token
      }
    } else if (one.do === 'release') {
      const token = one.stale ? model.token - 1 : model.token
      const held = model.holder !== undefined && !one.stale
      expect(await this.store.release(id, token, 0, 'platform_busy')).toBe(held)
      if (held) delete model.holder
    } else if (one.do === 'fail') {
      const token = one.stale ? model.token - 1 : model.token
      const { changed } = await this.store.transition(id, 'failed', {}, token)
      expect(changed).toBe(!one.stale && !this.isTerminal(model))
      this.end(model, 'failed', changed)
    } else if (one.do === 'succeed') {
      const { changed } = await this.store.transition(id, 'succeeded', { outputs: '1' })
      expect(changed).toBe(!this.isTerminal(model))
      this.end(model, 'succeeded', changed)
    } else if (one.do === 'cancel') {
      const { outcome } = await this.store.cancel(id)
      expect(outcome === 'canceled').toBe(!this.isTerminal(model))
      this.end(model, 'canceled', outcome === 'canceled')
    } else {
      await this.store.settleDoubt('critical', [id])
      this.end(model, 'failed', model.status === 'pending')
    }
  }

  async check(): Promise<void> {
    for (const [n, model] of this.models.entries()) {
      const { status, attempts } = (await this.store.get(this.ids[n]!))!
      expect({ status, attempts }).toEqual({ status: model.status, attempts: model.attempts })
    }
    const having = (status: string) => this.models.filter((model) => model.status === status).length
    expect(await this.store.count('critical')).toEqual({
      waiting: having('pending'),
      running: having('running'),
    })
    expect(this.terminalWrites).toBe(this.models.filter((model) => this.isTerminal(model)).length)
  }
}

describeStores('any order of calls', (kind) => {
  test('keeps terminal statuses, single ownership, tokens and exact counts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const store = await servingStore(await kind.place())
        for (const worker of processes.slice(1)) await store.registerProcess(worker, 'worker')
        const ids = flightIds(size)
        await store.admit(admissionOf(ids))
        const run = new Run(store, ids)
        for (const one of steps) await run.apply(one)
        await run.check()
      }),
      { numRuns: kind.name === 'SQLite' ? 60 : 12 },
    )
  })
})
