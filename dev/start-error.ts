/** What a user reads when a start cannot go on: the error for a reason that can be mended, and quoted tools. */

/** `message` is what the user reads: what is wrong and which setting changes it. Without a stack, exit code 1. */
export class StartError extends Error {
  override readonly name = 'StartError'
}

/** A tool's own words, cut and without addresses: that of a proxy may hold a password. */
export function quoted(words: string): string {
  return words.replaceAll(/https?:\/\/[^\s")]*[^\s"):]/g, '…').slice(0, 500)
}
