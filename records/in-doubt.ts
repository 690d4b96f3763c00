/** A commit that was sent and not answered: it may have taken effect, or may still do so. */

export class CommitInDoubt extends Error {
  constructor(cause: unknown) {
    super('The answer to a COMMIT did not come', { cause })
    this.name = 'CommitInDoubt'
  }
}

/** Whether what this error tells of may have been written. Any other `store_unavailable` has written nothing. */
export function isInDoubt(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof CommitInDoubt) return true
  return false
}
