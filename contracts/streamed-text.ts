/** A model's output as the text that a stream of it would have been. Free of zod; interprets no other member. */
import { isJsonObject, parseJson, printJson } from './json.ts'

/** Text as it is, a list piece by piece, anything else as its JSON text. */
export function piecesOf(output: unknown): string[] {
  const pieces = Array.isArray(output) ? output : [output]
  return pieces.map((piece) => (typeof piece === 'string' ? piece : printJson(piece)))
}

/** The text of a record's `outputs`: of `{"output": …}` what is in it, else the whole. */
export function textOf(outputs: string): string {
  const parsed = parseJson(outputs)
  return piecesOf(isJsonObject(parsed) && Object.hasOwn(parsed, 'output') ? parsed.output : parsed).join('')
}

/** The `outputs` of a prediction whose text was streamed, at most `most` characters of it. */
export function textOutputs(text: string, most: number): string {
  return JSON.stringify({ output: text.slice(0, most) })
}

/** Most characters of streamed text that a record keeps. */
export const mostStoredText = 10 * 2 ** 20
