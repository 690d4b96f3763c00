/** A streaming text model: continues a prompt word by word from what it learned in lighthouse.txt. */

import { readFile } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { InvalidInput, type RequestInfo, V2ModelServer } from '../../modelserver/index.ts'
import { type Chain, continueText, learn } from './chain.ts'

const mostWords = 1000

/** `generate` parameters: `max_words` (40, at most 1000), `seed` (1): the same seed gives the same text. */
export class TextModel extends V2ModelServer {
  #chain: Chain | undefined

  override async load(): Promise<void> {
    const path = this.modelPath || new URL('lighthouse.txt', import.meta.url)
    this.#chain = learn(await readFile(path, 'utf8'))
  }

  override async *generate(
    request: Record<string, unknown>,
    { signal }: RequestInfo,
  ): AsyncGenerator<string> {
    const { max_words: words = 40, seed = 1 } = { ...(request.parameters as object | undefined) } as Record<
      string,
      unknown
    >
    if (typeof words !== 'number' || !(words >= 0 && words <= mostWords)) {
      throw new InvalidInput(`max_words must be a number from 0 to ${mostWords}`)
    }
    if (typeof seed !== 'number') throw new InvalidInput('seed must be a number')
    let left = words
    for (const word of this.#continue(String(request.text_input), seed)) {
      if (left-- <= 0 || signal.aborted) return
      yield left === words - 1 ? word : ` ${word}`
      // A word is quick; other requests get their turn between two.
      await nextTurn()
    }
  }

  *#continue(prompt: string, seed: number): Generator<string> {
    if (!this.#chain) throw new Error('the text is not learned yet')
    yield* continueText(this.#chain, prompt, seed)
  }
}
