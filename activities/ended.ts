/** Which predictions have ended: one question for all that ask in the same turn of the event loop. Writes nothing. */
import type { TerminalStatus } from '../contracts/statuses.ts'
import { type Store, untilStored } from '../records/store.ts'

/** A whole flight that found no places asks at once, each member for itself. */
export function makeEndedLookup(store: Pick<Store, 'terminalAmong'>) {
  let asked: { ids: string[]; answer: Promise<Map<string, TerminalStatus>> } | undefined

  function ask() {
    const ids: string[] = []
    const answer = new Promise((resolve) => setImmediate(resolve)).then(() => {
      asked = undefined
      return untilStored(() => store.terminalAmong(ids))
    })
    asked = { ids, answer }
    return asked
  }

  return async (id: string): Promise<TerminalStatus | undefined> => {
    const { ids, answer } = asked ?? ask()
    ids.push(id)
    return (await answer).get(id)
  }
}
