"""Time-outs, visibility and concurrency fit each other."""

from stack import FUNCTIONS, proves, put


def the_mapping(stack):
    mappings = list(stack.of("AWS::Lambda::EventSourceMapping"))
    assert len(mappings) == 1
    return stack.properties(mappings[0])


def a_message_hides_as_long_as_its_worker_may_run(stack):
    """Lambda refuses less; more would only delay, as a dead worker's run is recovered by its lease."""
    assert stack.properties("Queue")["VisibilityTimeout"] == stack.timeout("Worker")


test_a_message_hides_as_long_as_its_worker_may_run = proves(
    a_message_hides_as_long_as_its_worker_may_run,
    short=put("Queue", "Properties", "VisibilityTimeout", 60),
    long=put("Worker", "Properties", "Timeout", 600),
)


def executors_have_the_longest_time_there_is(stack):
    """An executor hands over 60 s before its end, so what it has is what a step may take."""
    assert stack.timeout("Stream") == stack.timeout("Worker") == 900


test_executors_have_the_longest_time_there_is = proves(
    executors_have_the_longest_time_there_is, short=put("Worker", "Properties", "Timeout", 300)
)


def one_bad_message_takes_no_other_along(stack):
    """Partial batch responses, a bounded number of workers, and an end for what always fails."""
    mapping = the_mapping(stack)
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["Queue", "Arn"]}
    assert mapping["FunctionName"] == {"Ref": "Worker"}
    assert mapping.get("FunctionResponseTypes") == ["ReportBatchItemFailures"]
    assert 2 <= mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0) <= 1000
    assert 1 <= mapping["BatchSize"] <= 10
    redrive = stack.properties("Queue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
    assert redrive["maxReceiveCount"] >= 3


test_one_bad_message_takes_no_other_along = proves(
    one_bad_message_takes_no_other_along,
    whole_batches_fail=put("Worker", "Properties", "Events", "Queue", "Properties", "FunctionResponseTypes", None),
    unbounded=put("Worker", "Properties", "Events", "Queue", "Properties", "ScalingConfig", None),
    for_ever=put("Queue", "Properties", "RedrivePolicy", "maxReceiveCount", 1),
)


def reserved_concurrency_does_not_starve_the_mapping(stack):
    """A reservation under the mapping's concurrency has Lambda throttle its own poller, and messages count as received."""
    reserved = stack.properties("Worker").get("ReservedConcurrentExecutions")
    assert reserved is None or reserved >= the_mapping(stack)["ScalingConfig"]["MaximumConcurrency"]


test_reserved_concurrency_does_not_starve_the_mapping = proves(
    reserved_concurrency_does_not_starve_the_mapping,
    starved=put("Worker", "Properties", "ReservedConcurrentExecutions", 10),
)


def streams_do_not_lock_out_a_cancel(stack):
    """The control function has executions of its own; the streaming one has none reserved from all others."""
    assert stack.properties("Control").get("ReservedConcurrentExecutions", 0) >= 10
    assert "ReservedConcurrentExecutions" not in stack.properties("Stream")


test_streams_do_not_lock_out_a_cancel = proves(
    streams_do_not_lock_out_a_cancel,
    shared=put("Control", "Properties", "ReservedConcurrentExecutions", None),
)


def a_dead_letter_outlives_its_queue(stack):
    """A dead letter's age counts from when it was first sent."""
    dead = stack.properties("DeadLetters")["MessageRetentionPeriod"]
    assert dead > stack.properties("Queue")["MessageRetentionPeriod"]


test_a_dead_letter_outlives_its_queue = proves(
    a_dead_letter_outlives_its_queue, gone_first=put("DeadLetters", "Properties", "MessageRetentionPeriod", 86_400)
)


def the_sweeper_ends_before_it_begins_again(stack):
    """Each minute, one sweep, without retries that pile up."""
    (rule,) = stack.of("AWS::Events::Rule")
    given = stack.properties(rule)
    assert given["ScheduleExpression"] == "rate(1 minute)"
    assert given["Targets"][0]["Arn"] == {"Fn::GetAtt": ["Sweeper", "Arn"]}
    assert stack.timeout("Sweeper") < 60
    (config,) = stack.of("AWS::Lambda::EventInvokeConfig")
    assert stack.properties(config)["MaximumRetryAttempts"] == 0


test_the_sweeper_ends_before_it_begins_again = proves(
    the_sweeper_ends_before_it_begins_again,
    overlaps=put("Sweeper", "Properties", "Timeout", 300),
    rare=put("Sweeper", "Properties", "Events", "Tick", "Properties", "Schedule", "rate(5 minutes)"),
)


def functions_have_the_memory_that_a_start_needs(stack):
    """At 128 MB the first call of the SDK takes most of a second."""
    assert all(stack.properties(name)["MemorySize"] >= 512 for name in FUNCTIONS)
    for parameter in ("Memory", "WorkerMemory"):
        assert stack.source["Parameters"][parameter]["MinValue"] >= 512


test_functions_have_the_memory_that_a_start_needs = proves(
    functions_have_the_memory_that_a_start_needs, small=put("Control", "Properties", "MemorySize", 128)
)
