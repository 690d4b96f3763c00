/** Files named in a job's output, copied before the provider deletes them. Owns which and how often; keeps none itself. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf } from '../contracts/errors.ts'
import { isJsonObject, parseJson, printJson } from '../contracts/json.ts'
import { maxTransientFailures, retryDelayMs } from '../contracts/retry.ts'

export interface OutputFiles {
  /** Whether the text is the address of a file that the provider will delete. */
  covers(text: string): boolean
  /** Copies the file; where it is read from now on. */
  copy(url: string, predictionId: string, signal: AbortSignal): Promise<string>
  /** It stays where it is, and is lost there some day. */
  onLost(predictionId: string, error: unknown): void
}

const together = 4
const longestMs = 300_000

/**
 * The outputs with the addresses of the copies; what cannot be copied keeps the provider's, and so does what has not been
 * when `over` fires: nobody waits for it any more. Never throws.
 */
export async function withCopies(
  outputs: string,
  id: string,
  files: OutputFiles,
  over: AbortSignal,
): Promise<string> {
  // Most outputs name no file: they are neither parsed nor printed again.
  if (!/https?:/.test(outputs)) return outputs
  const parsed = parseJson(outputs)
  const urls = new Set<string>()
  replaced(parsed, (text) => {
    if (files.covers(text)) urls.add(text)
    return text
  })
  if (urls.size === 0) return outputs
  const copies = new Map<string, string>()
  const signal = AbortSignal.any([over, AbortSignal.timeout(longestMs)])
  const left = urls.values()
  const copySome = async () => {
    for (const url of left) {
      if (over.aborted) return
      const copy = await copied(url, id, files, signal).catch((error: unknown) => {
        if (!over.aborted) files.onLost(id, error)
      })
      if (copy !== undefined) copies.set(url, copy)
    }
  }
  await Promise.all(Array.from({ length: together }, copySome))
  return printJson(replaced(parsed, (text) => copies.get(text) ?? text))
}

async function copied(url: string, id: string, files: OutputFiles, signal: AbortSignal): Promise<string> {
  for (let failures = 1; ; failures++) {
    try {
      return await files.copy(url, id, signal)
    } catch (error) {
      // What keeps files is our own and comes back; a provider's file may be gone for good.
      const ours = codeOf(error) === 'store_unavailable'
      const counted = ours ? Math.min(failures, maxTransientFailures - 1) : failures
      const waitMs = retryDelayMs(error, counted, Math.random())
      if (waitMs === undefined) throw error
      await delay(waitMs, undefined, { signal })
    }
  }
}

function replaced(value: unknown, text: (text: string) => string): unknown {
  if (typeof value === 'string') return text(value)
  if (Array.isArray(value)) return value.map((item) => replaced(item, text))
  if (!isJsonObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, replaced(item, text)]))
}
