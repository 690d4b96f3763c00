/**
 * Clients behind a load balancer that asks /ready: they send on and on, each request with a key of its own, and again
 * when nobody takes it. Whatever is answered but 200 is an error.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'

export interface SteadyLoad {
  /** Ids by the key that got them. */
  accepted: Map<string, string>
  /** Outputs of direct predictions, by what was sent. */
  answered: Map<number, unknown>
  /** Any answer but 200, and what could not be delivered within a minute. */
  errors: string[]
  /** Requests that found nobody at an address, or were cut, and were sent again. */
  refused(): number
  /** Ends when every request that was begun is answered. */
  stop(): Promise<void>
}

export interface LoadOptions {
  baseUrls: readonly string[]
  /** Requests under way at once, asynchronous and direct ones. */
  asynchronous: number
  direct: number
  /** Between one answer and the next request of the same sender. */
  pauseMs?: number
}

const deliverWithinMs = 60_000
const againAfterMs = 50
const askReadyMs = 100

export function startSteadyLoad({ baseUrls, asynchronous, direct, pauseMs = 20 }: LoadOptions): SteadyLoad {
  const accepted = new Map<string, string>()
  const answered = new Map<number, unknown>()
  const errors: string[] = []
  let refused = 0
  let stopped = false
  let sent = 0

  const ready = new Set(baseUrls)
  const balancing = baseUrls.map(async (url) => {
    while (!stopped) {
      const isReady = await fetch(`${url}/ready`).then(
        ({ status }) => status === 200,
        () => false,
      )
      if (isReady) ready.add(url)
      else ready.delete(url)
      await delay(askReadyMs)
    }
  })

  async function deliver(path: string, n: number, key: string): Promise<unknown> {
    const until = performance.now() + deliverWithinMs
    for (let at = n; performance.now() < until; at++) {
      const candidates = [...ready]
      try {
        const answer = await fetch(`${candidates[at % candidates.length]}${path}`, {
          method: 'POST',
          headers: { 'idempotency-key': key },
          body: JSON.stringify({ model_name: 'm', inputs: { inputs: [n] } }),
        })
        const text = await answer.text()
        if (answer.status === 200) return JSON.parse(text)
        errors.push(`${answer.status} ${text}`)
        return undefined
      } catch {
        refused++
        await delay(againAfterMs)
      }
    }
    errors.push(`${key} could not be delivered`)
    return undefined
  }

  async function sender(path: string, note: (n: number, key: string, body: object) => void): Promise<void> {
    while (!stopped) {
      const n = ++sent
      const key = randomUUID()
      const body = await deliver(path, n, key)
      if (typeof body === 'object' && body !== null) note(n, key, body)
      await delay(pauseMs)
    }
  }

  const senders = [
    ...Array.from({ length: asynchronous }, () =>
      sender('/async/v1/predict', (_, key, body) => {
        if ('id' in body && typeof body.id === 'string') accepted.set(key, body.id)
      }),
    ),
    ...Array.from({ length: direct }, () =>
      sender('/v1/predict', (n, _, body) => {
        if ('outputs' in body) answered.set(n, body.outputs)
      }),
    ),
  ]
  return {
    accepted,
    answered,
    errors,
    refused: () => refused,
    async stop() {
      stopped = true
      await Promise.all([...senders, ...balancing])
    },
  }
}
