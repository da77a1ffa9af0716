"""Transcripts as they are written: four formats, and files that are never written over others."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from ray_sched.cli.transcripts import Format, PassageRow, Transcript, TranscriptFolder
from ray_sched.client.long import Passage
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.messages.recognition import Segment, Word


def passage(
    number: int,
    text: str = "",
    translation: str = "",
    error: Refusal | None = None,
    segments: tuple[Segment, ...] = (),
    words: tuple[Word, ...] = (),
) -> PassageRow:
    made = Passage(
        job_id=f"j{number}",
        name="talk.wav",
        status="failed" if error else "completed",
        pair="en:es" if translation else "en:en",
        text=text,
        translation=translation,
        position=number,
        utterance_index=number,
        start_s=number * 3600,
        end_s=number * 3600 + 1.5,
        segments=segments,
        words=words,
        error=error,
    )
    return PassageRow.of(Path("talks/talk.wav"), made)


FAILED = Refusal(code=Code.ENGINE_FAILED, message="three legs")
THREE = [passage(0, "He might"), passage(1, error=FAILED), passage(2, "even", "incluso")]


def written(form: Format, rows: list[PassageRow]) -> str:
    transcript = Transcript(form)
    return transcript.head + "".join(transcript.of(row) for row in rows)


def test_text_has_a_line_for_each_passage_that_has_one() -> None:
    assert written(Format.TEXT, THREE) == (
        "[00:00:00.000 --> 00:00:01.500] He might\n[02:00:00.000 --> 02:00:01.500] incluso\n"
    )


def test_cues_of_srt_are_numbered_without_a_hole_where_a_passage_failed() -> None:
    assert written(Format.SRT, THREE) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHe might\n\n2\n02:00:00,000 --> 02:00:01,500\nincluso\n\n"
    )


def test_webvtt_has_its_head_even_where_nobody_speaks() -> None:
    assert written(Format.VTT, []) == "WEBVTT\n\n"
    assert written(Format.VTT, THREE[:1]) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHe might\n\n"


def test_json_lines_have_every_passage_with_its_error_and_its_translation() -> None:
    first, failed, last = map(json.loads, written(Format.JSONL, THREE).splitlines())
    assert (first["file"], first["utterance_index"], first["text"]) == ("talks/talk.wav", 0, "He might")
    assert (failed["start_s"], failed["end_s"]) == (3600, 3601.5)
    assert failed["error"] == {"code": "ENGINE_FAILED", "message": "three legs"}
    assert (last["text"], last["translation"], last["error"]) == ("even", "incluso", None)


SENTENCES = (Segment(0, 700, "He might."), Segment(700, 1_400, "Even."))


def test_subtitles_have_a_cue_for_each_sentence_whose_times_the_engine_knows() -> None:
    two = passage(1, "He might. Even.", segments=SENTENCES)
    assert written(Format.SRT, [two, THREE[2]]) == (
        "1\n01:00:00,000 --> 01:00:00,700\nHe might.\n\n2\n01:00:00,700 --> 01:00:01,400\nEven.\n\n"
        "3\n02:00:00,000 --> 02:00:01,500\nincluso\n\n"
    )
    assert written(Format.VTT, [two]).count("-->") == 2
    assert written(Format.TEXT, [two]).count("\n") == 1


def test_a_translation_is_one_cue_as_its_sentences_have_no_times() -> None:
    both = passage(0, "He might. Even.", "Puede. Incluso.", segments=SENTENCES)
    assert written(Format.VTT, [both]) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nPuede. Incluso.\n\n"


def test_json_lines_have_the_times_of_sentences_and_words_in_the_recording() -> None:
    one = passage(1, "He might. Even.", segments=SENTENCES, words=(Word(250, 500, "might"),))
    line = json.loads(written(Format.JSONL, [one]))
    assert line["segments"][1] == {"start_s": 3600.7, "end_s": 3601.4, "text": "Even."}
    assert line["words"] == [{"start_s": 3600.25, "end_s": 3600.5, "text": "might"}]


@pytest.mark.parametrize(("form", "name"), [(Format.TEXT, "talk.txt"), (Format.SRT, "talk.srt")])
def test_a_file_has_the_name_of_its_recording_and_what_was_given_to_it_at_once(
    tmp_path: Path, form: Format, name: str
) -> None:
    file = TranscriptFolder(tmp_path, form, []).open(Path("elsewhere/talk.wav"))
    assert file.path == tmp_path / name
    file.add(THREE[0])
    assert file.path.read_text(encoding="utf-8") == written(form, THREE[:1])
    file.close()


def test_recordings_of_the_same_name_have_files_of_their_own_and_none_is_written_over_a_recording(
    tmp_path: Path,
) -> None:
    recordings = [Path("a/talk.wav"), Path("b/talk.wav"), tmp_path / "talk.srt"]
    recordings[2].write_bytes(b"sound, whatever it is called")
    folder = TranscriptFolder(tmp_path, Format.SRT, recordings)
    names = []
    for recording in recordings:
        file = folder.open(recording)
        file.close()
        names.append(file.path.name)
    assert names == ["talk-2.srt", "talk-3.srt", "talk-4.srt"]
    assert recordings[2].read_bytes() == b"sound, whatever it is called"


def test_a_transcript_whose_folder_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SchedError, match=r"talk.txt cannot be written \(.*\); choose another --out") as caught:
        TranscriptFolder(tmp_path / "missing", Format.TEXT, []).open(Path("talk.wav"))
    assert caught.value.code is Code.INVALID_CONFIGURATION


@pytest.mark.parametrize("form", [Format.TEXT, Format.VTT])
def test_a_full_disk_is_told_with_the_first_words_that_do_not_fit(tmp_path: Path, form: Format) -> None:
    (tmp_path / f"talk.{'txt' if form is Format.TEXT else 'vtt'}").symlink_to("/dev/full")

    def write() -> None:
        with closing(TranscriptFolder(tmp_path, form, []).open(Path("talk.wav"))) as file:
            file.add(THREE[0])

    with pytest.raises(SchedError, match="No space left on device"):
        write()
