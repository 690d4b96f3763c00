/** `perdure bless list|show|revoke`: the records that the gate reads. */
import { type Command, Option } from 'commander'
import { printJson } from '../contracts/json.ts'
import { type BlessingView, makeValidationClient } from '../contracts/validation-client.ts'
import { verdicts } from '../contracts/validation-verdict.ts'
import { conclude, exitCodes } from './outcome.ts'
import { type ApiOptions, baseUrlOf, withApiOptions } from './request.ts'
import { table } from './validation-report.ts'

interface ListOptions extends ApiOptions {
  model?: string
  verdict?: string
}

export function addBless(program: Command): void {
  const bless = program.command('bless').description('blessing records: what the gate reads')

  const list = bless
    .command('list')
    .description('the newest records')
    .option('--model <name>', 'of this model only')
    .addOption(new Option('--verdict <verdict>', 'of this verdict only').choices(verdicts))
  withApiOptions(list).action((options: ListOptions) =>
    conclude(async () => {
      const { model, verdict } = options
      const { results } = await client(options).blessings({
        ...(model !== undefined && { modelName: model }),
        ...(verdict !== undefined && { verdict }),
      })
      if (options.json) console.log(printJson(results))
      else
        for (const line of table(['id', 'model', 'verdict', 'until'], results.map(rowOf))) console.log(line)
      return exitCodes.succeeded
    }, options.json),
  )

  const show = bless.command('show <id>').description('one record as JSON')
  withApiOptions(show).action((id: string, options: ApiOptions) =>
    conclude(async () => {
      const record = await client(options).blessing(id)
      console.log(options.json ? printJson(record) : JSON.stringify(record, null, 2))
      return exitCodes.succeeded
    }, options.json),
  )

  const revoke = bless
    .command('revoke <id>')
    .description('the gate refuses what rests on it from now on')
    .option('--reason <text>', 'kept with the record', '')
  withApiOptions(revoke).action((id: string, options: ApiOptions & { reason: string }) =>
    conclude(async () => {
      const record = await client(options).revoke(id, options.reason)
      console.log(options.json ? printJson(record) : `${record.id} revoked at ${record.revokedAt}`)
      return exitCodes.succeeded
    }, options.json),
  )
}

function client(options: ApiOptions) {
  return makeValidationClient({ baseUrl: baseUrlOf(options) })
}

function rowOf({ id, model, verdict, expiresAt, revokedAt }: BlessingView): string[] {
  return [id, model.name, verdict, revokedAt === null ? expiresAt : `revoked ${revokedAt}`]
}
