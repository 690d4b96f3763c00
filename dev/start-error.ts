/** The error of a start that cannot go on for a reason the user can mend. */

/** `message` is what the user reads: what is wrong and which setting changes it. Without a stack, exit code 1. */
export class StartError extends Error {
  override readonly name = 'StartError'
}
