/** The determinism gate: histories recorded by earlier versions replay on today's workflow code. See histories/README.md. */
import { readdirSync, readFileSync } from 'node:fs'
import { Worker } from '@temporalio/worker'
import { expect, test } from 'vitest'
import { traceSinks } from '../tracing/temporal.ts'
import { workflowBundle } from '../worker/bundle.ts'
import { bundleFolder } from './support/folders.ts'

const folder = new URL('./histories/', import.meta.url)
const names = readdirSync(folder).filter((name) => name.endsWith('.json'))

interface Recorded {
  events: { eventType: string; workflowExecutionStartedEventAttributes?: { workflowId?: string } }[]
}

function recorded(name: string): Recorded {
  return JSON.parse(readFileSync(new URL(name, folder), 'utf8'))
}

/** Ids of children are made of it; histories of old servers do not tell. */
function idIn({ events }: Recorded): string | undefined {
  return events[0]?.workflowExecutionStartedEventAttributes?.workflowId
}

test('there are recorded histories of flights and guards', () => {
  expect(names.some((name) => name.startsWith('flight'))).toBe(true)
  expect(names.some((name) => name.startsWith('guard'))).toBe(true)
})

test.each(names)('the recorded history %s replays', async (name) => {
  const workflowBundleOption = await workflowBundle(bundleFolder)
  const history = recorded(name)
  const options = { workflowBundle: workflowBundleOption, sinks: traceSinks }
  await Worker.runReplayHistory(options, history, idIn(history) ?? name)
})

test('a history that the code cannot have made is refused', async () => {
  const workflowBundleOption = await workflowBundle(bundleFolder)
  const name = names.find((each) => each.startsWith('flight-retry')) ?? names[0]!
  const history = recorded(name)
  const schedule = history.events.find(
    ({ eventType }) => eventType === 'EVENT_TYPE_ACTIVITY_TASK_SCHEDULED',
  ) as unknown as {
    activityTaskScheduledEventAttributes: { activityType: { name: string } }
  }
  schedule.activityTaskScheduledEventAttributes.activityType.name = 'somethingElse'
  await expect(
    Worker.runReplayHistory({ workflowBundle: workflowBundleOption }, history, name),
  ).rejects.toThrow(/nondeterminism|TMPRL1100/i)
})
