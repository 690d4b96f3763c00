/** Which error body a path has where no route says it. Owns the list of modern paths. */
import type { Surface } from '../errors.ts'

const modernPath = /^\/v1\/(predictions|models|batches|validations|blessings)(\/|$)/

/** For errors that no route has handled. */
export function surfaceOf(path: string): Surface {
  return modernPath.test(path) ? 'modern' : 'inherited'
}
