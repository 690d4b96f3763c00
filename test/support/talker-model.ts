/** A module that `main.ts` serves: streams the words of its text, fails at the word `fail`, and counts for ever at `forever`. */
import { setTimeout as delay } from 'node:timers/promises'
import { type ModelRequest, type RequestInfo, V2ModelServer, ValueError } from '../../modelserver/index.ts'

export class TalkerModel extends V2ModelServer {
  ended = 0

  override load(): void {}

  /** How many streams have ended, however. */
  override predict(_: ModelRequest): number[] {
    return [this.ended]
  }

  override async *generate(request: Record<string, unknown>, ctx: RequestInfo): AsyncGenerator<string> {
    try {
      for (const word of String(request.text_input ?? request.text).split(' ')) {
        if (word === 'fail') throw new ValueError('the word was fail')
        yield word
        while (word === 'forever') {
          await delay(5, undefined, { signal: ctx.signal })
          yield '.'
        }
      }
    } finally {
      this.ended++
    }
  }
}
