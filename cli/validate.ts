/** `perdure validate FILE`: validates a model server and waits for its verdict, which is the exit code. */
import type { Command } from 'commander'
import { ApiError } from '../contracts/client.ts'
import { isJsonObject, printJson } from '../contracts/json.ts'
import {
  makeValidationClient,
  type ValidationClient,
  type ValidationDetailView,
} from '../contracts/validation-client.ts'
import { exitCodeOf, type FailureClass } from '../contracts/validation-verdict.ts'
import { liveLine } from './live-line.ts'
import { conclude } from './outcome.ts'
import { type ApiOptions, baseUrlOf, withApiOptions } from './request.ts'
import { readValidationFile } from './validation-file.ts'
import { progressText, reportText } from './validation-report.ts'

interface ValidateOptions extends ApiOptions {
  wait: boolean
  every?: string
}

const lookEveryMs = 150
/** The API may be restarted meanwhile: the validation goes on. */
const patienceMs = 30_000
const notSentCode = 2

export function addValidate(program: Command): void {
  const command = program
    .command('validate <file>')
    .description(
      'validate a model server (YAML or JSON); exit code 0 BLESSED, 1 NOT_BLESSED, 2 CONFIG_INVALID, 3 ERROR, 4 ABORTED',
    )
    .option('--no-wait', 'print the id and leave')
    .option('--every <duration>', 'repeat it, e.g. 24h')
  withApiOptions(command).action((file: string, options: ValidateOptions) =>
    conclude(async () => {
      const request = await readValidationFile(file).catch((error: Error) => {
        console.error(`perdure: ${error.message}`)
        return undefined
      })
      if (request === undefined) return notSentCode
      const client = makeValidationClient({ baseUrl: baseUrlOf(options) })
      const repeated = options.every === undefined ? {} : { schedule: { every: options.every } }
      const { id } = await client
        .validate({ ...request, ...repeated })
        .catch(tellFaults(options.json ?? false))
      if (!options.wait) {
        console.log(options.json ? JSON.stringify({ id }) : id)
        return 0
      }
      const validation = await untilEnded(client, id)
      const blessing = validation.blessing === null ? undefined : await client.blessing(validation.blessing)
      if (options.json) console.log(printJson({ validation, blessing: blessing ?? null }))
      else console.log(reportText(validation, blessing))
      return codeOf(validation)
    }, options.json),
  )
}

/** One line per fault; the code of the answer decides the exit code. */
function tellFaults(json: boolean) {
  return (error: unknown): never => {
    const faults = error instanceof ApiError && isJsonObject(error.body) ? error.body.faults : undefined
    if (json || !Array.isArray(faults)) throw error
    for (const fault of faults) if (isJsonObject(fault)) console.error(`  ${fault.field}: ${fault.message}`)
    throw new ApiError(400, 'CONFIG_INVALID', 'the validation request is not valid', undefined)
  }
}

async function untilEnded(client: ValidationClient, id: string): Promise<ValidationDetailView> {
  const line = liveLine()
  let shown = ''
  let failingSince: number | undefined
  const stopCancelling = cancelOnInterrupt(client, id)
  if (!process.stderr.isTTY) console.error(id)
  try {
    for (;;) {
      const validation = await client.validation(id).catch((error: unknown) => {
        failingSince ??= performance.now()
        if (error instanceof ApiError && error.status < 500) throw error
        if (performance.now() - failingSince > patienceMs) throw error
        return undefined
      })
      if (validation !== undefined) {
        failingSince = undefined
        if (validation.status === 'ended') return validation
        const text = progressText(validation)
        line.say(`${validation.modelName} ${text}`)
        const phase = `${validation.progress.attempt} ${validation.progress.phase}`
        if (!process.stderr.isTTY && phase !== shown) console.error(text)
        shown = phase
      }
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs))
    }
  } finally {
    line.end()
    stopCancelling()
  }
}

/** The first Ctrl-C cancels the validation, whose server is then stopped; the second one leaves. */
function cancelOnInterrupt(client: ValidationClient, id: string): () => void {
  let asked = false
  const interrupt = () => {
    if (asked) process.exit(130)
    asked = true
    console.error('\ncancelling …')
    client.cancel(id).catch((error: Error) => console.error(`perdure: ${error.message}`))
  }
  process.on('SIGINT', interrupt)
  return () => process.off('SIGINT', interrupt)
}

function codeOf({ verdict, error, attempts }: ValidationDetailView): number {
  const failure: FailureClass | undefined = error?.class ?? attempts.at(-1)?.errorClass
  return exitCodeOf(verdict ?? 'ERROR', failure)
}
