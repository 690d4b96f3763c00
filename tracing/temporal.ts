/** Trace context on its way through Temporal: into the start of a workflow, out of an activity's headers. Decides nothing. */
import type { Context } from '@temporalio/activity'
import type { WorkflowClientInterceptor } from '@temporalio/client'
import { defaultPayloadConverter } from '@temporalio/common'
import type { ActivityInterceptors, InjectedSinks } from '@temporalio/worker'
import { type TraceSinks, traceHeader, traceparentOf } from '../contracts/trace.ts'
import { activeTrace, inSpan, workflowOver } from '../tracing.ts'

/** For every client that starts workflows: they belong to the span that starts them. */
export const tracedStarts: WorkflowClientInterceptor = {
  start: (input, next) => next(withTrace(input)),
  startWithDetails: (input, next) => next(withTrace(input)),
}

function withTrace<I extends { headers: object }>(input: I): I {
  const trace = activeTrace()
  if (trace === undefined) return input
  return { ...input, headers: { ...input.headers, [traceHeader]: defaultPayloadConverter.toPayload(trace) } }
}

/** For every worker: an execution of an activity is a span of the workflow that scheduled it. */
export function tracedActivities({ info }: Context): ActivityInterceptors {
  return {
    inbound: {
      async execute(input, next) {
        const header = input.headers[traceHeader]
        const parent = header && traceparentOf(defaultPayloadConverter.fromPayload(header))
        if (parent === undefined) return next(input)
        const attributes = {
          ...(info.workflowExecution && {
            'temporal.workflow.id': info.workflowExecution.workflowId,
            'temporal.run.id': info.workflowExecution.runId,
          }),
          'temporal.activity.id': info.activityId,
          'temporal.activity.attempt': info.attempt,
        }
        return inSpan(info.activityType, { kind: 'consumer', parent, attributes }, () => next(input))
      },
    },
  }
}

/** For every worker that runs workflows. */
export const traceSinks: InjectedSinks<TraceSinks> = {
  tracing: {
    ended: {
      fn: ({ workflowId, runId }, span) => workflowOver(span, { workflowId, runId }),
      callDuringReplay: false,
    },
  },
}
