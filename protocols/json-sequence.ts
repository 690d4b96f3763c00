/** JSON objects one behind the other, in text that arrives in pieces: with or without line ends, or inside SSE blocks. */

/**
 * The text of each top-level `{…}` as soon as it is complete. What stands between objects is skipped; `rest` tells
 * how a sequence without any object, or with half of one, ended.
 */
export async function* readObjects(text: AsyncIterable<string>): AsyncGenerator<string, SequenceEnd> {
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
  return { complete: depth === 0, isSequence: count > 0 || !strayText }
}

export interface SequenceEnd {
  /** False if the text ended inside an object. */
  complete: boolean
  /** False if there was text, but not one object. */
  isSequence: boolean
}
