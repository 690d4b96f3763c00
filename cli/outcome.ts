/** How a command ends: its exit code by outcome, and one line for what went wrong. */
import { ApiError } from '../contracts/client.ts'
import { printJson } from '../contracts/json.ts'
import type { TaskRecord } from '../contracts/predictions.ts'

/** Exit codes of `predict`, `task` and `cancel`. */
export const exitCodes = {
  succeeded: 0,
  failed: 1,
  /** Wrong arguments, or a request that the API refuses as such (400, 404, 413, 422). */
  usage: 2,
  /** The API cannot be reached or cannot serve now. */
  unavailable: 3,
  canceled: 4,
  /** The wait ended before the prediction did. */
  unfinished: 5,
} as const

export function exitCodeOf({ status }: TaskRecord): number {
  return status === 'pending' || status === 'running' ? exitCodes.unfinished : exitCodes[status]
}

/** Prints the outputs (or with `json` the whole record) to stdout, a failure to stderr. */
export function showRecord(record: TaskRecord, json: boolean): void {
  if (json) console.log(printJson(record))
  else if (record.status === 'succeeded') console.log(JSON.stringify(record.outputs, null, 2))
  else console.error(`${record.id} ${record.status}${record.error_info && `: ${record.error_info}`}`)
}

/** What is wrong with the command itself, before the API is asked. */
export class UsageError extends Error {}

const failedCodes =
  /^(platform_|provider_|prediction_timeout$|interrupted$|attempts_exhausted$|task_queue_failed$)/

/** An answer to a request that waits for its prediction may be how that ended. */
function exitCodeOfError(error: Error): number {
  if (error instanceof UsageError) return exitCodes.usage
  if (!(error instanceof ApiError)) return exitCodes.unavailable
  if (error.code === 'prediction_canceled' || error.code === 'prediction_aborted') return exitCodes.canceled
  if (failedCodes.test(error.code)) return exitCodes.failed
  return [400, 403, 404, 413, 422].includes(error.status) ? exitCodes.usage : exitCodes.unavailable
}

/** Runs a command, and ends the process with its code. */
export async function conclude(command: () => Promise<number>, json = false): Promise<void> {
  try {
    process.exitCode = await command()
  } catch (error) {
    if (!(error instanceof Error)) throw error
    if (json && error instanceof ApiError) console.log(printJson(error.body))
    else console.error(`perdure: ${wordsOf(error)}`)
    process.exitCode = exitCodeOfError(error)
  }
}

function wordsOf(error: Error): string {
  if (error instanceof TypeError && error.message === 'fetch failed') {
    const cause = error.cause instanceof Error ? error.cause.message || error.cause.name : ''
    return `the API cannot be reached (PERDURE_URL or --url): ${cause}`
  }
  return error.message
}
