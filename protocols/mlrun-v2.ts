/**
 * mlrun's V2 model server, and ours: the URLs of the open inference protocol with bodies of their own. Sends nothing.
 * `inputs` may be any list, `outputs` any value; 408 means that the model is not loaded yet.
 */
import { objectOrNull, requireSameId } from './answer.ts'
import { openInferencePaths } from './open-inference.ts'

export { withRequestId } from './request-id.ts'

export const mlrunPaths = openInferencePaths

/** Statuses by which this server says "not ready yet"; nothing was computed. */
export const mlrunNotReady: readonly number[] = [408]

/** Checks a 200 answer and hands its text back. */
export function readMlrunAnswer(text: string, sentId: string): string {
  const answer = objectOrNull(text)
  if (answer === null) return 'null'
  requireSameId(answer, sentId)
  return text
}
