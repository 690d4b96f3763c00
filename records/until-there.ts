/** Waits for a store that was opened patiently: its server may be away when a process starts. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf } from '../contracts/errors.ts'

const pauseMs = 500

/**
 * Repeats what asks the store until it works; true then, false when told to stop first. `say` hears once why it waits.
 * Throws what waiting does not mend: wrong credentials, a database of a newer version.
 */
export async function untilThere(
  ask: () => Promise<void>,
  stop: AbortSignal,
  say: (text: string) => void,
): Promise<boolean> {
  let said = false
  while (!stop.aborted) {
    try {
      await ask()
      if (said) say('the record store is there')
      return true
    } catch (error) {
      if (codeOf(error) !== 'store_unavailable') throw error
      if (!said) say(`the record store cannot be reached yet${reasonOf(error)}`)
      said = true
    }
    await delay(pauseMs, undefined, { signal: stop }).catch(() => undefined)
  }
  return false
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Error ? `: ${cause.message}` : ''
}
