/** `perdure webhooks secret`: prints the secrets that sign user webhooks, to be given to receivers. */
import type { Command } from 'commander'
import { loadWorker } from '../config.ts'
import { webhookSecrets } from '../worker/webhook-secret.ts'

export function addWebhooks(program: Command): void {
  const webhooks = program.command('webhooks').description('user webhooks')
  webhooks
    .command('secret')
    .description('print the signing secrets, the newest first; makes one in the data folder if there is none')
    .action(() => {
      try {
        const config = loadWorker()
        const secrets = webhookSecrets({ secrets: config.webhooks.secrets, dataDir: config.store.dataDir })
        for (const secret of secrets) console.log(secret.reveal())
      } catch (error) {
        console.error(error instanceof Error ? error.message : String(error))
        process.exitCode = 1
      }
    })
}
