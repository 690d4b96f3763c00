/** The logger of a server that was given none: errors as JSON lines on stderr, nothing else. */

import type { Logger } from './context.ts'

export const plainLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: (fields, message) => {
    process.stderr.write(`${JSON.stringify({ level: 'error', msg: message, ...fields })}\n`)
  },
}
