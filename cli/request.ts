/** Options that all commands which talk to the API share. */
import { type Command, InvalidArgumentError } from 'commander'
import { loadCli } from '../config.ts'
import { type Client, makeClient } from '../contracts/client.ts'
import { parseJson } from '../contracts/json.ts'
import { UsageError } from './outcome.ts'

export interface ApiOptions {
  url?: string
  json?: boolean
}

export function withApiOptions(command: Command): Command {
  return command
    .option('--url <url>', 'where the API is (else PERDURE_URL, else http://127.0.0.1:8000)')
    .option('--json', 'print JSON for scripts')
}

export function baseUrlOf({ url }: ApiOptions): string {
  return url ?? loadCli().url
}

export function clientOf(options: ApiOptions): Client {
  return makeClient({ baseUrl: baseUrlOf(options) })
}

/** A number of seconds above or equal to zero. */
export function seconds(text: string): number {
  const value = Number(text)
  if (!(value >= 0)) throw new InvalidArgumentError('not a number of seconds')
  return value
}

export function jsonArgument(text: string): unknown {
  try {
    return parseJson(text)
  } catch {
    throw new UsageError('the inputs are not valid JSON')
  }
}
