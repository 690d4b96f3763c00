/** `perdure task` and `perdure cancel`: what became of a prediction, and its end. */
import type { Command } from 'commander'
import { liveStatus } from './live-status.ts'
import { conclude, exitCodeOf, exitCodes, showRecord } from './outcome.ts'
import { type ApiOptions, clientOf, seconds, withApiOptions } from './request.ts'

export function addTask(program: Command): void {
  const command = program
    .command('task <id>')
    .description('show a prediction; exit code by its status')
    .option('--wait <seconds>', 'wait until it is terminal, at most this long', seconds)
  withApiOptions(command).action((id: string, options: ApiOptions & { wait?: number }) =>
    conclude(async () => {
      const live = liveStatus()
      try {
        const record = await clientOf(options).wait(id, {
          onLook: live.look,
          timeoutMs: (options.wait ?? 0) * 1000,
        })
        live.end()
        showRecord(record, options.json ?? false)
        return exitCodeOf(record)
      } finally {
        live.end()
      }
    }, options.json),
  )
}

export function addCancel(program: Command): void {
  const command = program.command('cancel <id>').description('cancel a prediction that waits or runs')
  withApiOptions(command).action((id: string, options: ApiOptions) =>
    conclude(async () => {
      const answer = await clientOf(options).cancel(id)
      console.log(options.json ? JSON.stringify(answer) : `${answer.id} canceled`)
      return exitCodes.succeeded
    }, options.json),
  )
}
