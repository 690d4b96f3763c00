#!/usr/bin/env node
/** The `perdure` command. Owns the list of its sub-commands; each is a file of its own. */
import { Command } from 'commander'
import { addBless } from './bless.ts'
import { addCheckConfig } from './check-config.ts'
import { addMigrate } from './migrate.ts'
import { addModels } from './models.ts'
import { addOwnership } from './ownership.ts'
import { addPredict } from './predict.ts'
import { addProcesses } from './processes.ts'
import { addRecover } from './recover.ts'
import { addCancel, addTask } from './task.ts'
import { addValidate } from './validate.ts'
import { addWebhooks } from './webhooks.ts'

const program = new Command('perdure')
  .description('Predictions that are never lost, served only by validated models.')
  .enablePositionalOptions()
  .showHelpAfterError()
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))

addPredict(program)
addTask(program)
addCancel(program)
addModels(program)
addValidate(program)
addBless(program)
addCheckConfig(program)
addMigrate(program)
addWebhooks(program)
addRecover(program)
addOwnership(program)
addProcesses(program)

await program.parseAsync()
