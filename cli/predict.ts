/** `perdure predict`: submits a prediction and waits for its end, which it survives without. */
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { type Command, Option } from 'commander'
import { ApiError, type Client, type RequestOptions } from '../contracts/client.ts'
import { liveLine } from './live-line.ts'
import { liveStatus } from './live-status.ts'
import { conclude, exitCodeOf, exitCodes, showRecord, UsageError } from './outcome.ts'
import { type ApiOptions, clientOf, jsonArgument, seconds, withApiOptions } from './request.ts'

interface PredictOptions extends ApiOptions {
  wait?: number
  detach?: boolean
  stream?: boolean
  key?: string
  priority?: string
  uid?: string
}

export function addPredict(program: Command): void {
  const command = program
    .command('predict <model> [inputs]')
    .description('predict and wait; inputs is JSON, @file, or - for stdin (default {})')
    .option('--wait <seconds>', 'longest wait; the prediction goes on afterwards', seconds)
    .option('-d, --detach', 'print the id and do not wait')
    .option('--stream', 'print the text as the model makes it; leaving ends the prediction')
    .option('--key <key>', 'Idempotency-Key: repeating the command makes no second prediction')
    .addOption(new Option('--priority <n>', '1 = first').choices(['1', '2', '3', '4', '5']))
    .option('--uid <uid>', 'whom the prediction is for')
    .addHelpText('after', exitCodeHelp)
  withApiOptions(command).action((model: string, inputs: string | undefined, options: PredictOptions) =>
    conclude(() => predict(model, inputs, options), options.json),
  )
}

/** As a shell says it of SIGINT. */
const interrupted = 130
/** How a stream says that its prediction was canceled. */
const canceledText = 'prediction was canceled'

const exitCodeHelp = `
Exit codes: ${Object.entries(exitCodes)
  .map(([name, code]) => `${code} ${name}`)
  .join(', ')}`

async function predict(model: string, given: string | undefined, options: PredictOptions): Promise<number> {
  const client = clientOf(options)
  const inputs = jsonArgument(await textOf(given))
  const request = {
    ...(options.key !== undefined && { idempotencyKey: options.key }),
    ...(options.priority !== undefined && { priority: Number(options.priority) }),
    ...(options.uid !== undefined && { uid: options.uid }),
  }
  if (options.stream) return stream(client, model, inputs, request, options.json ?? false)
  const { id } = await client.submit(model, inputs, request)
  if (options.detach) {
    console.log(options.json ? JSON.stringify({ id }) : id)
    return exitCodes.succeeded
  }
  const live = liveStatus()
  const onInterrupt = () => {
    live.end()
    console.error(`the prediction goes on: perdure task ${id} --wait 60, or perdure cancel ${id}`)
    process.exit(interrupted)
  }
  process.once('SIGINT', onInterrupt)
  try {
    const record = await client.wait(id, {
      onLook: live.look,
      ...(options.wait !== undefined && { timeoutMs: options.wait * 1000 }),
    })
    live.end()
    showRecord(record, options.json ?? false)
    return exitCodeOf(record)
  } finally {
    live.end()
    process.off('SIGINT', onInterrupt)
  }
}

/** The text as it comes; with `json` one line `{"id":n,"data":text}` for each piece, at the end `{"error":text}` of a failure. */
async function stream(
  client: Client,
  model: string,
  inputs: unknown,
  request: RequestOptions,
  json: boolean,
): Promise<number> {
  const live = liveLine()
  live.say(`${model} waits for its first words`)
  const leaving = new AbortController()
  const leave = () => leaving.abort()
  process.once('SIGINT', leave)
  let pieces = 0
  try {
    for await (const data of client.generate(model, inputs, { ...request, signal: leaving.signal })) {
      live.end()
      process.stdout.write(json ? `${JSON.stringify({ id: pieces, data })}\n` : data)
      pieces++
    }
    live.end()
    if (!json) process.stdout.write('\n')
    return exitCodes.succeeded
  } catch (error) {
    live.end()
    if (pieces > 0 && !json) process.stdout.write('\n')
    if (leaving.signal.aborted) {
      console.error('left: the prediction is canceled')
      return interrupted
    }
    // The stream had begun: the prediction failed, not the request.
    if (!(error instanceof ApiError) || error.status !== 0) throw error
    if (json) console.log(JSON.stringify({ error: error.message }))
    else console.error(error.message)
    return error.message === canceledText ? exitCodes.canceled : exitCodes.failed
  } finally {
    process.off('SIGINT', leave)
  }
}

async function textOf(inputs: string | undefined): Promise<string> {
  if (inputs === undefined) return '{}'
  if (inputs === '-') return text(process.stdin)
  if (!inputs.startsWith('@')) return inputs
  return readFile(inputs.slice(1), 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new UsageError(`${inputs.slice(1)} cannot be read: ${cause.code ?? cause.message}`)
  })
}
