/** `perdure models`: the routing table as the API shows it. */
import type { Command } from 'commander'
import { conclude, exitCodes } from './outcome.ts'
import { type ApiOptions, clientOf, withApiOptions } from './request.ts'

export function addModels(program: Command): void {
  const command = program.command('models').description('list the models of the models file')
  withApiOptions(command).action((options: ApiOptions) =>
    conclude(async () => {
      const { results } = await clientOf(options).models()
      if (options.json) console.log(JSON.stringify(results))
      else if (results.length === 0) console.log('no models file: ML_PLATFORM serves every name')
      else
        console.table(
          results.map(({ owner, name, platform, protocol, versions, timeout_seconds: timeout }) => ({
            model: owner === 'perdure' ? name : `${owner}/${name}`,
            platform,
            protocol,
            versions: versions.join(' '),
            'timeout (s)': timeout,
          })),
        )
      return exitCodes.succeeded
    }, options.json),
  )
}
