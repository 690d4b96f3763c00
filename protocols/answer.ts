/** Reads the 200 answers of model servers. Owns what counts as the expected JSON; keeps the text as it came. */
import { ServiceError } from '../contracts/errors.ts'

/** The answer's object, or null for JSON `null`. Anything else is `platform_bad_answer` (20005). */
export function objectOrNull(text: string): Record<string, unknown> | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw unexpectedAnswer("the platform's answer is not JSON", cause)
  }
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw unexpectedAnswer("the platform's answer is not a JSON object")
  }
  return value as Record<string, unknown> | null
}

/** Refuses an answer that names another request than the one that was sent. */
export function requireSameId(answer: Record<string, unknown>, sentId: string): void {
  const { id } = answer
  if (id !== undefined && id !== null && id !== '' && String(id) !== sentId) {
    throw unexpectedAnswer("the platform's answer carries the id of another request")
  }
}

export function unexpectedAnswer(message: string, cause?: unknown): ServiceError {
  return new ServiceError('platform_bad_answer', message, { cause, legacyCode: 20005 })
}
