/** The `id` member of V2 requests. Owns when it is put in; refuses to rewrite anything else. */
import { isJsonObject, parseJson, printJson } from '../contracts/json.ts'

export interface IdentifiedBody {
  body: string
  /** The id that the answer has to carry. */
  id: string
}

/** `inputs` (JSON text of an object) with `id` put in where it has none; the rest stays character for character. */
export function withRequestId(inputs: string, id: string): IdentifiedBody {
  // Without these characters there cannot be such a member at any depth: large tensors are not parsed for it.
  if (!inputs.includes('"id"') && !inputs.includes('\\u')) return { body: inject(inputs, id), id }
  const parsed = parseJson(inputs)
  if (!isJsonObject(parsed)) return { body: inputs, id }
  if (parsed.id === undefined) return { body: inject(inputs, id), id }
  if (parsed.id === null) return { body: printJson({ ...parsed, id }), id }
  return { body: inputs, id: typeof parsed.id === 'string' ? parsed.id : printJson(parsed.id) }
}

function inject(inputs: string, id: string): string {
  const inside = inputs.trimStart().slice(1)
  const rest = inside.trimStart()
  return `{"id":${JSON.stringify(id)}${rest.startsWith('}') ? '' : ','}${rest}`
}
