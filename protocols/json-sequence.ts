/** JSON objects one behind the other, in text that arrives in pieces: with or without line ends, or inside SSE blocks. */
import { ServiceError } from '../contracts/errors.ts'
import { unexpectedAnswer } from './answer.ts'

/**
 * The text of each top-level `{…}` as soon as it is complete; what stands between objects is skipped. Throws
 * `platform_connection_lost` when the text ends inside one, `platform_bad_answer` when there was text but no object.
 */
export async function* readObjects(text: AsyncIterable<string>): AsyncGenerator<string> {
  let open = ''
  let depth = 0
  let inString = false
  let escaped = false
  let count = 0
  let strayText = false
  for await (const piece of text) {
    let start = depth > 0 ? 0 : -1
    for (let at = 0; at < piece.length; at++) {
      const char = piece[at]
      if (depth === 0) {
        if (char === '{') {
          depth = 1
          start = at
        } else if (char !== undefined && char.trim() !== '') strayText = true
      } else if (inString) {
        if (escaped) escaped = false
        else if (char === '\\') escaped = true
        else if (char === '"') inString = false
      } else if (char === '"') inString = true
      else if (char === '{') depth++
      else if (char === '}' && --depth === 0) {
        count++
        const object = open + piece.slice(start, at + 1)
        open = ''
        start = -1
        yield object
      }
    }
    if (depth > 0) open += piece.slice(start)
  }
  if (depth > 0) {
    throw new ServiceError('platform_connection_lost', 'the stream ended early', { legacyCode: 20004 })
  }
  if (count === 0 && strayText) throw unexpectedAnswer("the platform's answer is not a stream of objects")
}
