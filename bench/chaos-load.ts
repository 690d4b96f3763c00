/**
 * Clients of the chaos run: so many requests per second, each sent to one API and, when that fails, to the other, until
 * one answers. Keeps what was promised to them. Loopback only.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'

export interface ChaosLoadOptions {
  /** Of the APIs. */
  origins: readonly string[]
  asyncPerSecond: number
  syncPerSecond: number
  /** How long a client tries before it gives up. */
  patienceMs: number
}

export interface Answered {
  /** The number in its inputs. */
  n: number
  id: string
  beganMs: number
  /** Until the answer that counted, in milliseconds. */
  tookMs: number
  tries: number
}

export interface ChaosLoad {
  /** Answered 200 by the asynchronous route: accepted, a promise. */
  accepted: Answered[]
  /** Answered 200 by the synchronous route, with its result. */
  served: Answered[]
  /** Results that were not those of the request; lines for people. */
  wrong: string[]
  /** Requests that nobody answered with 200 in all their patience. */
  gaveUp: string[]
  /** Answers other than 200, by their text. */
  refusals: Map<string, number>
  /** Sends one more asynchronous request now. */
  submit(): Promise<Answered>
  /** No new requests; resolves when the last one is answered. */
  stop(): Promise<void>
}

export function startChaosLoad(options: ChaosLoadOptions): ChaosLoad {
  const pools = options.origins.map((origin) => {
    if (new URL(origin).hostname !== '127.0.0.1') throw new Error('a load goes to this machine only')
    return new Pool(origin, { connections: 256, pipelining: 1, bodyTimeout: 60_000, headersTimeout: 60_000 })
  })
  const accepted: Answered[] = []
  const served: Answered[] = []
  const wrong: string[] = []
  const gaveUp: string[] = []
  const refusals = new Map<string, number>()
  const open = new Set<Promise<unknown>>()
  let next = 0
  let stopped = false

  /** Undefined once the client has lost patience. */
  async function ask(path: string, n: number, key: boolean): Promise<[Answered, string] | undefined> {
    const beganMs = performance.now()
    for (let tries = 1; performance.now() - beganMs < options.patienceMs; tries++) {
      // Half of them meet a dead API first.
      const pool = pools[(n + tries - 1) % pools.length]!
      try {
        const { statusCode, body } = await pool.request({
          path,
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            ...(key && { 'idempotency-key': `chaos-${n}` }),
          },
          body: JSON.stringify({ model_name: 'chaos', inputs: { inputs: [n], delayMs: delayOf(n) } }),
        })
        const text = await body.text()
        if (statusCode === 200) {
          const { id } = JSON.parse(text) as { id: string }
          return [{ n, id, beganMs, tookMs: performance.now() - beganMs, tries }, text]
        }
        note(`${path}: ${statusCode} ${text.replaceAll(/[0-9a-f-]{36}/g, '…').slice(0, 120)}`)
      } catch (error) {
        note(`${path}: ${error instanceof Error && 'code' in error ? error.code : error}`)
      }
      await delay(100)
    }
    return undefined
  }

  function note(refusal: string): void {
    refusals.set(refusal, (refusals.get(refusal) ?? 0) + 1)
  }

  async function submit(): Promise<Answered> {
    const n = next++
    // With a key, whoever does not know whether the first try was accepted may send it again.
    const answer = await ask('/async/v1/predict', n, true)
    if (answer === undefined) {
      gaveUp.push(`asynchronous request ${n}`)
      throw new Error(`nobody accepted request ${n}`)
    }
    accepted.push(answer[0])
    return answer[0]
  }

  async function predict(): Promise<void> {
    const n = next++
    const answer = await ask('/v1/predict', n, false)
    if (answer === undefined) {
      gaveUp.push(`synchronous request ${n}`)
      return
    }
    const { outputs } = JSON.parse(answer[1]) as { outputs: { outputs?: unknown } }
    if (JSON.stringify(outputs?.outputs) !== `[${n}]`) wrong.push(`request ${n} got the result ${answer[1]}`)
    served.push(answer[0])
  }

  function track(request: Promise<unknown>): void {
    const settled = request.catch(() => undefined).finally(() => open.delete(settled))
    open.add(settled)
  }

  const timers = [
    every(options.asyncPerSecond, () => track(submit())),
    every(options.syncPerSecond, () => track(predict())),
  ]

  return {
    accepted,
    served,
    wrong,
    gaveUp,
    refusals,
    submit,
    async stop() {
      if (stopped) return
      stopped = true
      for (const timer of timers) clearInterval(timer)
      await Promise.all(open)
      await Promise.all(pools.map((pool) => pool.destroy()))
    },
  }
}

/** Most calls are short, one in ten takes a second: kills meet some of them. */
function delayOf(n: number): number {
  return n % 10 === 0 ? 1_000 : 100 + (n % 7) * 40
}

function every(perSecond: number, send: () => void): NodeJS.Timeout | undefined {
  return perSecond > 0 ? setInterval(send, 1_000 / perSecond) : undefined
}
